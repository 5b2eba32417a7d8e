"""``auditor serve``: the dashboard and the HTTP API."""

import click

from auditor.cli.numbers import Count


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="0: any that is free.")
@click.option("--closed", is_flag=True, help="Reading needs a token, too (`auditor tokens add`).")
@click.option("--open", "opened", is_flag=True, help="Let everybody read who reaches an address beyond this machine.")
@click.option(
    "--rate", type=Count(), default=600, show_default=True, metavar="N",
    help="Requests a minute from one address.",
)  # fmt: skip
@click.option(
    "--allowed-host", "names", multiple=True, metavar="NAME",
    help="A further name of the server, such as that of a proxy in front; *.example.com for all below.",
)  # fmt: skip
@click.option(
    "--trusted-proxy", "proxies", multiple=True, metavar="ADDRESS",
    help="A proxy, or a network of them, whose X-Forwarded-For and -Proto are believed. None by default.",
)  # fmt: skip
def command(
    host: str, port: int, closed: bool, opened: bool, rate: int, names: tuple[str, ...], proxies: tuple[str, ...]
) -> None:
    """Serve the dashboard and the HTTP API under /api/v1, from the database of the settings.

    Works on the SQLite default with no other service. Anybody who reaches the address may read, unless --closed; beyond
    this machine that has to be said with --open. Downloads of checkpoints need a token.

    Requests for other hosts are refused (status 400). On a loopback address the server is known as localhost and by
    loopback addresses, else by this machine's names and any address. --allowed-host adds names.

    TLS is for a proxy in front: name it with --trusted-proxy, and its name for the server with --allowed-host.

    \b
    Examples:
      auditor serve
      auditor serve --port 8080 --closed
      auditor serve --host 0.0.0.0 --closed
      auditor serve --closed --trusted-proxy 127.0.0.1 --allowed-host audits.example.com
    """
    import ipaddress
    import socket

    from auditor.cli.db import open_database
    from auditor.errors import EnvironmentUnusableError, UsageError

    if closed and opened:
        raise UsageError("--open and --closed contradict each other")
    try:
        beyond = not ipaddress.ip_address(host).is_loopback
    except ValueError as error:
        if host != "localhost":
            raise UsageError(f"--host: expected an address such as 127.0.0.1 or 0.0.0.0, got {host!r}") from error
        host, beyond = "127.0.0.1", False
    if beyond and not (closed or opened):
        raise UsageError(f"{host} can be reached from elsewhere: say --closed (reading needs a token), or --open")
    from auditor.web import hosts, server
    from auditor.web.app import create_app

    known, trusted = hosts.allowed_hosts(host, names), hosts.check_proxies(proxies)
    app = create_app(open_database(), open_reading=not closed, per_minute=rate, hosts=known, trusted_proxies=trusted)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Of TCP by name, or asyncio leaves Nagle's algorithm on, and small answers wait 40 ms for an acknowledgement.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(2048)  # who reads the address below may ask at once: it is answered in a moment
        except OSError as error:
            raise EnvironmentUnusableError(f"cannot listen on {host}:{port}: {error.strerror}; try --port") from error
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"http://{shown}:{listening.getsockname()[1]}/", err=True)
        server.run(app, listening)
