"""Every schedule that a template may be asked for, for hypothesis: not only what is measured."""

from __future__ import annotations

from hypothesis import strategies as st

from hago.codegen.blocking import Blocking, Extents
from hago.codegen.intrin.dot import Dot
from hago.codegen.kernels.depthwise import RowTile
from hago.codegen.kernels.depthwise_int8 import BandTile
from hago.codegen.workload import Conv2d


@st.composite
def any_blocking(draw: st.DrawFn):
    """What stands for ``choose_blocking``: a tile of any size (also one that is larger than the
    product, or than the registers), in bands of any number of tiles that divides all of them."""
    rows, columns = draw(st.integers(1, 14)), draw(st.integers(1, 4))
    which = draw(st.floats(0, 1, exclude_max=True))

    def choose(extents: Extents, dot: Dot, registers: int) -> Blocking:
        total = Blocking(rows, columns, 1).row_tiles(extents)
        bands = [band for band in range(1, total + 1) if total % band == 0]
        return Blocking(rows, columns, bands[int(which * len(bands))])

    return choose


def any_band_tile(workload: Conv2d) -> st.SearchStrategy[BandTile]:
    """Dilated rows are read by one output row alone."""
    most = 1 if workload.dilation[0] > 1 else 5
    return st.builds(BandTile, st.integers(1, most), st.integers(1, 9), st.sampled_from([64, 128]))


ANY_ROW_TILE = st.builds(RowTile, st.integers(1, 17), st.booleans())
