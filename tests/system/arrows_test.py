#!/usr/bin/env python3
"""The guard of the arrows finds every kind of offence in a tree made for it, and nothing in one that keeps them."""
import pathlib
import tempfile
import unittest

import arrows

GOOD = {
    "kernels/base/check.h": "",
    "kernels/backend.h": '#include "kernels/base/check.h"',
    "parallel/layout.h": '#include "kernels/backend.h"',
    "engine/request.h": '#include "kernels/base/check.h"',
    "engine/text/tokenizer.h": '#include "kernels/base/check.h"',
    "engine/engine.h": '#include "engine/request.h"\n#include "engine/text/tokenizer.h"',
    "engine/cache/block_pool.h": "",
    "engine/weights/gguf.h": "",
    "engine/schedule/micro_batch.h": "",
    "engine/schedule/scheduler.h": '#include "engine/cache/block_pool.h"\n#include "engine/request.h"',
    "engine/model/forward.h": '#include "engine/cache/block_pool.h"\n#include "engine/weights/gguf.h"',
    "engine/stage/stage.h": '#include "engine/model/forward.h"\n#include "engine/schedule/micro_batch.h"',
    "engine/serving.h": '#include "engine/schedule/scheduler.h"\n#include "engine/stage/stage.h"\n'
                        '#include "parallel/layout.h"\n#include "kernels/backend.h"',
    "frontend/http/server.cc": '#include "engine/engine.h"\n#include <vector>\n// #include "launch/options.h"',
    "launch/main.cc": '#include "frontend/http/server.cc"\n#include "engine/serving.h"',
    "tests/system/server_test.cc": '#include "launch/main.cc"',
    "benchmarks/peers/installed/peer/api.h": '#include "peer.h"',
}
BAD = {  # file: (what it includes besides, a piece of the reason)
    "kernels/base/check.h": ("kernels/backend.h", "nothing but itself"),
    "kernels/backend.h": ("parallel/layout.h", "kernels may not include parallel"),
    "parallel/layout.h": ("engine/request.h", "parallel may not include engine"),
    "frontend/http/server.cc": ("parallel/layout.h", "frontend may not include parallel"),
    "engine/engine.h": ("frontend/http/server.cc", "engine may not include frontend"),
    "engine/text/tokenizer.h": ("engine/weights/gguf.h", "is a leaf"),
    "engine/weights/gguf.h": ("engine/request.h", "is a leaf"),
    "engine/cache/block_pool.h": ("engine/schedule/scheduler.h", "engine/cache may not include engine/schedule"),
    "engine/stage/stage.h": ("engine/schedule/scheduler.h", "engine/stage may not include engine/schedule"),
    "engine/schedule/scheduler.h": ("engine/model/forward.h", "engine/schedule may not include engine/model"),
    "engine/model/forward.h": ("engine/serving.h", "includes folders of engine itself"),
    "launch/main.cc": ("tests/system/server_test.cc", "launch may not include tests"),
    "engine/serving.h": ("serving.h", "no such file"),
}


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


class Arrows(unittest.TestCase):
    def offences_of(self, files):
        with tempfile.TemporaryDirectory() as folder:
            write(pathlib.Path(folder), files)
            return list(arrows.offences(pathlib.Path(folder)))

    def test_a_tree_that_keeps_them(self):
        self.assertEqual(self.offences_of(GOOD), [])

    def test_each_offence_is_found_where_it_stands(self):
        for file, (target, reason) in BAD.items():
            with self.subTest(file=file, target=target):
                found = self.offences_of({**GOOD, file: f'{GOOD[file]}\n#include "{target}"'})
                line = GOOD[file].count("\n") + 2
                self.assertIn(f'{file}:{line}: #include "{target}"', "\n".join(found))
                self.assertTrue(any(reason in text for text in found), found)

    def test_a_new_folder_of_engine_needs_arrows(self):
        found = self.offences_of({**GOOD, "engine/draft/draft.h": '#include "engine/cache/block_pool.h"'})
        self.assertTrue(any("no arrows yet" in text for text in found), found)

    def test_this_repository(self):
        self.assertEqual(list(arrows.offences(pathlib.Path(__file__).resolve().parents[2])), [])


if __name__ == "__main__":
    unittest.main()
