"""The server of the page: loaded, started, and at its end everything of its visitors deleted."""

import ipaddress
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from vlm3.sources import calibrate

if TYPE_CHECKING:
    import gradio as gr

    from vlm3.terminal.app.visits import Host
    from vlm3.terminal.asking import Asking

VISITORS = 50  # whose photos are remembered at once
OPEN = (
    "others on your network can reach this page: it asks for no password, and photos that they "
    "send are in your memory for a while. Leave out --host to keep it to yourself"
)


def check(host: str, port: int | None, max_upload_mb: float, keep_minutes: float) -> None:
    """ValueError, with the way out, for what cannot be served."""
    if not find_spec("gradio"):
        raise ValueError('the page needs gradio: pip install gradio, or pip install "vlm3[app]"')
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"--port must be from 1 to 65535, got {port}")
    if not 0 < max_upload_mb <= 1000:
        raise ValueError(
            f"--max-upload must be more than 0 and at most 1000 MB, got {max_upload_mb}"
        )
    if not 1 <= keep_minutes <= 1440:
        raise ValueError(f"--keep-minutes must be from 1 to 1440, got {keep_minutes}")
    _demand_ours(host)
    if not loopback(host):
        print(f"vlm3: {OPEN}", file=sys.stderr)


def _demand_ours(host: str) -> None:
    """ValueError for what is no address of this computer, where gradio would try port by port."""
    try:
        family, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as trial:
            trial.bind(address)
    except OSError as error:
        raise ValueError(
            f"--host {host} is no address of this computer ({error}): leave it out, or say 0.0.0.0 "
            "for all that it has"
        ) from error


def loopback(host: str) -> bool:
    """Whether only this computer can reach an address or a name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def launched(
    answering: "Host", host: str, port: int | None, max_upload_mb: float, keep_minutes: float
) -> "gr.Blocks":
    """The page, served. GRADIO_TEMP_DIR is where uploads lie until they are read."""
    import gradio as gr

    from vlm3.terminal.app.events import page

    styles = Path(__file__).parent / "browser" / "page.css"
    fonts = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]  # none from elsewhere
    blocks = page(answering, keep_minutes).queue(max_size=VISITORS, default_concurrency_limit=8)
    blocks.launch(
        server_name=host,
        server_port=port,
        max_file_size=round(max_upload_mb * 1e6),
        state_session_capacity=VISITORS,
        theme=gr.themes.Soft(primary_hue="blue", font=fonts[0], font_mono=fonts[1]),
        css_paths=[styles],
        share=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        prevent_thread_lock=True,
        quiet=True,
    )
    return blocks


def serve(
    asked: "Asking", host: str, port: int | None, max_upload_mb: float, keep_minutes: float
) -> None:
    """Serve the page until Ctrl-C or a signal to end; asked: of which model, and who says focal
    lengths."""
    check(host, port, max_upload_mb, keep_minutes)
    calibrate.get(asked.calibrate or "exif")  # before a model is loaded
    from vlm3.terminal.app.visits import Host

    with tempfile.TemporaryDirectory(prefix="vlm3-app-") as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        answering = Host(asked.loaded(), asked.model, asked.calibrate)
        blocks = launched(answering, host, port, max_upload_mb, keep_minutes)
        print(f"{asked.model} answers at {blocks.local_url} until Ctrl-C", flush=True)
        try:
            _until_told(lambda: sweep(Path(folder), 60 * keep_minutes))
        finally:
            blocks.close(verbose=False)


def sweep(folder: Path, keep_s: float) -> None:
    """Delete what was sent longer ago and never asked about, such as files beyond the limit."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # read in the meantime
            if path.is_file() and time.time() - path.stat().st_mtime > keep_s:
                path.unlink()


def _until_told(meanwhile: Callable[[], None]) -> None:
    """Wait for Ctrl-C, or for the signal that ends services, with time to clean up after both."""
    over = Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: over.set())
    while not over.wait(60):
        meanwhile()
