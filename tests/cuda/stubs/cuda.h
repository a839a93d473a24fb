// The driver API, of which no kernel needs anything.
#pragma once
