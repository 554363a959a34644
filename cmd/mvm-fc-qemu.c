// SPDX-License-Identifier: MIT
// Firecracker's command line and API with QEMU behind them. See fc/server.h.
#include "fc/server.h"

int main(int argc, char **argv)
{
	return server_main(argc, argv);
}
