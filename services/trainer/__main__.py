"""`python -m services.trainer --pipeline FOLDER`."""

import os
import sys
from collections.abc import Sequence

from headrace.runtime.lifecycle import App, Context, run_role
from services.trainer.settings import TrainerSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `trainer`, or one rank of it where torchrun has set WORLD_SIZE; returns its exit code."""

    def build(context: Context[TrainerSettings]) -> App:
        if "WORLD_SIZE" in os.environ:
            from services.trainer.ranks.app import build_rank

            return build_rank(context)
        if context.settings.ranks > 1:
            from services.trainer.ranks.main_process import RanksApp

            return RanksApp(context, argv)
        from services.trainer.app import build

        return build(context)

    return run_role("trainer", TrainerSettings, build, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
