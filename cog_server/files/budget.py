"""`Budget`: how much one prediction may still bring in."""

from __future__ import annotations

from cog_server.files.transfer import TransferError


class Budget:
    """`file_bytes` is the most for one file, `total_bytes` for all of a prediction together."""

    def __init__(self, *, file_bytes: int, total_bytes: int) -> None:
        self.file_bytes = file_bytes
        self._total_bytes = total_bytes
        self._left = total_bytes

    @property
    def next_bytes(self) -> int:
        """The most that the next file may have."""
        return min(self.file_bytes, self._left)

    def refusal(self) -> TransferError:
        """The error of a file that has more than `next_bytes`: it names the limit that was reached."""
        if self._left < self.file_bytes:
            return self._all_too_large()
        return TransferError(f"the file is larger than {self.file_bytes} bytes (COG_MAX_FILE_BYTES)")

    def take(self, size: int) -> None:
        """Count `size` bytes more. Raises TransferError if that is too much."""
        self._left -= size
        if self._left < 0:
            raise self._all_too_large()

    def give_back(self, size: int) -> None:
        """Count `size` bytes less: a try that failed begins anew."""
        self._left += size

    def _all_too_large(self) -> TransferError:
        return TransferError(f"all files together are larger than {self._total_bytes} bytes (COG_MAX_INPUT_BYTES)")
