"""What may stand between the page and its people: a proxy that ends TLS, a long way. Bytes pass on as they came."""

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A key and a certificate that the name signed itself."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


@contextlib.contextmanager
def front(port: int, to_port: int, *, context: ssl.SSLContext | None = None, delay_s: float = 0.0) -> Iterator[None]:
    """Listen on the port of loopback while the block runs; each direction takes `delay_s` longer."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(65536):
                loop.call_later(delay_s, writer.write, content)
        loop.call_later(delay_s, writer.close)

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", to_port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    listening = asyncio.start_server(serve_one, "127.0.0.1", port, ssl=context)
    server = asyncio.run_coroutine_threadsafe(listening, loop).result(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
