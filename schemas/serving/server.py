"""An ASGI application served until a signal comes, and the folder of what all pages look like."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

from schemas.serving.gate import Address, Gate

# Package and folder of the shared style sheet and icon, as Starlette's StaticFiles takes them beside a page's own.
LOOK = ("schemas.serving", "static")


def serve(app: Gate, address: Address, on_start: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP; what is under way is answered first."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own does not know SIGHUP, and raises the signal again at the end, which ends the process.
            numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            ends = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
            before = {number: signal.signal(number, self.handle_exit) for number in ends}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_start()

    Server(
        uvicorn.Config(
            app,
            host=address.host,
            port=address.port,
            # Links with tokens must not end up in a log.
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            timeout_graceful_shutdown=3,
        )
    ).run()
