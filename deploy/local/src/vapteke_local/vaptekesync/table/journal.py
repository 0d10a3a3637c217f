"""The journal: a file of all changes, which a restarted server makes again."""

from __future__ import annotations

import io
import json
from pathlib import Path

from vapteke_local.vaptekesync.table.changes import Change, make
from vapteke_local.vaptekesync.table.rows import Rows


class Journal:
    """A file of changes, one JSON object per line. Call `replay` first, and `close` at the end.

    Without a path, changes are made and not kept.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: io.BufferedRandom | None = None

    def replay(self, rows: Rows) -> Rows:
        """Opens or creates the file and makes its changes again. Returns the changed rows, as `changes.make` does.

        Give the rows with which the file began: a change that does not fit them raises one of changes.INVALID. An
        unfinished last line, which a killed server may leave, is removed from the file.
        """
        if self._path is None:
            return rows
        self._path.touch()
        self._file = self._path.open("r+b")
        whole = self._file.read().rpartition(b"\n")[0]
        for line in whole.splitlines():
            rows = make(rows, json.loads(line))
        self._file.truncate(len(whole) + 1 if whole else 0)
        self._file.seek(0, io.SEEK_END)
        return rows

    def make(self, rows: Rows, change: Change) -> Rows:
        """Makes the change, appends it to the file and returns the changed rows, as `changes.make` does.

        Raises one of changes.INVALID. Then nothing is appended.
        """
        changed = make(rows, change)
        if self._file is not None:
            self._file.write(json.dumps(change, default=str, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
        return changed

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
