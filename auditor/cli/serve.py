"""``auditor serve``: serve the dashboard and the HTTP API."""

import click

from auditor.cli.number_types import Count


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this IP address.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8000,
    show_default=True,
    help="Listen on this port; 0 chooses a free one.",
)
@click.option("--closed", is_flag=True, help="Require a token for reading, too; `auditor tokens add` creates tokens.")
@click.option(
    "--open", "opened", is_flag=True, help="Allow reading without a token on an address that other machines can reach."
)
@click.option(
    "--rate", type=Count(), default=600, show_default=True, metavar="N",
    help="Answer at most this number of requests per minute from one address.",
)  # fmt: skip
@click.option(
    "--allowed-host", "names", multiple=True, metavar="NAME",
    help="Answer to this host name, too, such as the name of a proxy; *.example.com covers all names below.",
)  # fmt: skip
@click.option(
    "--trusted-proxy", "proxies", multiple=True, metavar="ADDRESS",
    help="Trust X-Forwarded-For and X-Forwarded-Proto from this address or network. Repeatable; none by default.",
)  # fmt: skip
@click.option(
    "--allowed-origin", "origins", multiple=True, metavar="ORIGIN",
    help="Allow scripts of this site, e.g. https://plots.example.com, to call the API from a browser. Repeatable.",
)  # fmt: skip
def command(
    host: str,
    port: int,
    closed: bool,
    opened: bool,
    rate: int,
    names: tuple[str, ...],
    proxies: tuple[str, ...],
    origins: tuple[str, ...],
) -> None:
    """Serve the dashboard, and the HTTP API under /api/v1, from the configured database.

    The server needs no other service if the database is SQLite, the default. On a loopback address, reading needs no
    token unless --closed is given. On any other address, --closed or --open is required. Downloads of checkpoints
    always need a token.

    Requests with an unknown Host header are refused with status 400. On a loopback address, the server answers to
    localhost and loopback addresses; on other addresses, to this machine's names and to any IP address.
    --allowed-host adds names.

    The server does not speak TLS. Put a TLS proxy in front of it: pass the proxy's address with --trusted-proxy, and
    the public host name with --allowed-host.

    \b
    Examples:
      auditor serve
      auditor serve --port 8080 --closed
      auditor serve --host 0.0.0.0 --closed
      auditor serve --closed --trusted-proxy 127.0.0.1 --allowed-host audits.example.com
    """
    import ipaddress

    from auditor import tracing
    from auditor.cli.db import open_database
    from auditor.cli.schedule import check_remote_scan
    from auditor.errors import UsageError

    if closed and opened:
        raise UsageError("--open and --closed contradict each other; use one of them")
    from auditor.web import server
    from auditor.web.app import create_app
    from auditor.web.security import hosts

    address = server.check_address(host)
    if not (ipaddress.ip_address(address).is_loopback or closed or opened):
        raise UsageError(f"other machines can reach {host}: add --closed (reading needs a token) or --open")
    allowed, trusted = hosts.allowed_hosts(address, names), hosts.check_proxies(proxies)
    tracing.set_up("serve")
    app = create_app(
        open_database(),
        open_reading=not closed,
        per_minute=rate,
        hosts=allowed,
        trusted_proxies=trusted,
        allowed_origins=hosts.check_origins(origins),
        check_scan=check_remote_scan,
    )
    with server.listen(address, port) as (listening, url):
        click.echo(f"{url}/", err=True)
        server.run(app, listening)
