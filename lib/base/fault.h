// SPDX-License-Identifier: MIT
// A hook for tests: makes a named point fail. Does nothing unless MVM_FAULT is set to a list of
// POINT:ACTION[@N], separated by commas, where ACTION is
//	kill		SIGKILL to this process, as a crash
//	err=ENOSPC	the call at this point fails with that errno
//	sleep=MS	a pause, to have others meet this moment
//	stop		SIGSTOP to this process: a pause that ends when somebody says so
// and @N means only the Nth time the point is passed.
//
//	if (fault_point("replace-fsync") || fsync(fd) < 0)
//		return err_sys(e, "sync %s", name);
#pragma once
#include "base/base.h"

bool fault_point(const char *point); // true: fail, errno is set
