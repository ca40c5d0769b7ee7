"""Playlists as programs write them: m3u, pls, xspf, csv exports, Spotify's slices; and which recordings they mean.

Standard library alone, since mining and evaluation both read them. Nothing that a playlist names is ever opened.
"""
