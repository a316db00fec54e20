"""`kernellab warm`: compile everything once, so that nobody waits for it later."""

HELP = "compile everything once, on all cores"
DESCRIPTION = """\
Compile every compiled function that is not in the cache yet, on all cores. Notebooks then load
machine code instead of compiling it. Running it again costs a second or two."""


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no last line")
    parser.add_argument(
        "--processes", type=int, metavar="N", help="how many processes compile (default: all cores)"
    )


def run(args) -> int:
    """Compile what is missing."""
    from tqdm import tqdm

    from kernellab.cli import UsageError
    from kernellab.compute.compiled import warm

    if args.processes is not None and args.processes < 1:
        raise UsageError(f"--processes must be at least 1, not {args.processes}")
    total = 0
    # Without a terminal (a CI log) the bar would be one long line: None switches it off there.
    with tqdm(unit=" functions", disable=True if args.quiet else None, leave=False) as bar:

        def advance(step):
            nonlocal total
            total = bar.total = step.total
            bar.set_postfix_str(step.name.removeprefix("kernellab."), refresh=False)
            bar.update(step.done - bar.n)

        compiled = warm(progress=advance, processes=args.processes)
    if not args.quiet:
        print(f"{total} functions ready, {compiled} of them compiled now")
    return 0
