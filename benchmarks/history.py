"""Whether a model follows a conversation: second and third questions about a clip, with and without the turns before.

python benchmarks/history.py           # the embedded model, 20 clips of moving shapes it has never seen
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from vtcli.ask import Question
from vtcli.chat import Chat
from vtcli.engines.base import SamplingOptions
from vtcli.shapes.questions import questions
from vtcli.shapes.render import write_clip
from vtcli.shapes.world import make_scene, split_seed

ASKED = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--clips", type=int, default=20)
    options = parser.parse_args()
    right = {False: 0, True: 0}
    complete = {False: 0, True: 0}
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.clips):
            scene = make_scene(split_seed("test", number), duration=6.0, fps=25.0)
            path = Path(folder) / f"{number}.mp4"
            write_clip(scene, path)
            asked = questions(scene)[:ASKED]
            count += len(asked) - 1
            for history in (False, True):
                question = Question(path, "", options.model, sampling=SamplingOptions(temperature=0))
                with Chat(question, history) as chat:
                    records = [chat.ask(each.text) for each in asked]
                for record, each in list(zip(records, asked, strict=True))[1:]:
                    right[history] += record["answer"].strip().lower() == each.answer.lower()
                    complete[history] += record["format_ok"]
    for history, name in ((False, "each by itself"), (True, "with history")):
        print(f"{name}: {right[history]} of {count} right, {complete[history]} with a complete trace")


if __name__ == "__main__":
    main()
