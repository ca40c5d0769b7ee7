"""What all routes share: the index in a thread of its own, who may come in, and how a template becomes an answer."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jinja2
from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse

from schemas.serving.gate import Address
from trainer.search.index import Index

_TEMPLATES = Path(__file__).with_name("templates")
Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class PageSettings:
    """`token`: what the link of visitors carries; None where whoever reaches the server may look."""

    address: Address
    token: str | None = None


class Site:
    """One index, as it is served."""

    def __init__(self, index: Index, settings: PageSettings) -> None:
        self.index, self.address, self._token = index, settings.address, settings.token
        self.cookie = settings.address.cookie
        self.session = secrets.token_urlsafe(32)
        # One question at a time: a scan of a large index keeps all cores busy, and players go on meanwhile.
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    @property
    def is_private(self) -> bool:
        """Whether nobody but this machine's people look."""
        return self._token is None

    async def ask(self, question: Callable[[Index], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._asking, question, self.index)

    def page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(self._templates.get_template(template).render(**values), status)

    def is_invited(self, token: str) -> bool:
        return self._token is not None and secrets.compare_digest(token.encode(), self._token.encode())

    async def admitted(self, request: Request) -> None:
        if self._token is None:
            return
        given = request.cookies.get(self.cookie, "")
        if not secrets.compare_digest(given.encode(), self.session.encode()):
            raise HTTPException(401, "Open the link that the person who runs this page gave you.")
