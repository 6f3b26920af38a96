"""A process that promotes what it is told to on stdin, a JSON document a line, and answers what came of it."""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    from podium.config.params import load
    from podium.core.errors import PromotionRefused
    from podium.core.layout import Layout
    from podium.registry import promotion
    from podium.registry.promotion import PromotionRequest
    from podium.tracking import locks
    from tests.unit.registry.promotions import ignore, lenient

    for line in sys.stdin:
        told = json.loads(line)
        os.environ.update(told["environment"])
        locks.PAUSE_SECONDS = told["pause"]
        layout = Layout(Path(told["root"]))
        os.chdir(layout.root)
        params, done = lenient(load(layout.params)), []
        for version in told["versions"]:
            request = PromotionRequest(version, "staging", f"version {version} of {told['who']}", force=True)
            try:
                entry = promotion.promote(layout, params, request, ignore)
                done.append({"number": entry.number, "from": entry.from_version, "to": entry.to_version})
            except PromotionRefused as refusal:
                done.append({"refused": str(refusal)})
        print("\n" + json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
