"""`kernellab progress`: a learner's exercises and guesses."""

import time

from kernellab.commands._table import print_json, print_table

HELP = "show your exercises and guesses"


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument("--json", action="store_true", help="as JSON, with every attempt")


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def run(args) -> int:
    """Print attempts and guesses as they are kept on this machine."""
    from kernellab.lab import progress

    summary, guesses = progress.summary(), progress.guesses()
    if args.json:
        print_json(
            {
                "file": str(progress.path()),
                "exercises": [vars(row) for row in summary],
                "attempts": [vars(attempt) for attempt in progress.attempts()],
                "guesses": [vars(guess) for guess in guesses],
            }
        )
        return 0
    if summary:
        rows = [
            [row.exercise, "solved" if row.passed else "open", row.attempts, _when(row.last)]
            for row in summary
        ]
        print_table(["exercise", "state", "attempts", "last"], rows, flexible=[0])
        print(f"\n{sum(row.passed for row in summary)} of {len(summary)} tried exercises solved")
    if guesses:
        print()
        rows = [[guess.question, guess.guess, _when(guess.time)] for guess in guesses]
        print_table(["question", "your guess", "when"], rows, flexible=[0])
    if not summary and not guesses:
        print("Nothing yet: open a lab with `kernellab lab` and try an exercise.")
    if problem := progress.problem():
        print(f"\n{problem}")
    print(f"\nKept in {progress.path()}")
    return 0
