"""The pages, one module each: `routes(site)` has the addresses of a page, and turns requests into calls of `work`,
`adjudication` and `people`, and back into HTML or JSON. `site` is what they share, `forms` reads what was sent.
"""
