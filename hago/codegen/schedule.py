"""What a template may be asked for: how it cuts its work, apart from what it computes."""

from __future__ import annotations

from hago.codegen.blocking import Blocking
from hago.codegen.kernels.conv_winograd import WinogradTile
from hago.codegen.kernels.cut_amx import Cut
from hago.codegen.kernels.depthwise import RowTile
from hago.codegen.kernels.depthwise_int8 import BandTile

# Each prints as its parameters, by which caches and tables call it.
Schedule = Blocking | WinogradTile | Cut | RowTile | BandTile
