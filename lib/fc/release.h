// SPDX-License-Identifier: MIT
// Upstream's Firecracker releases: fetched or taken from a file or folder, verified, and installed
// side by side as $STATE/firecracker/<version>/{firecracker,jailer,manifest.json}. A download that
// is cut off or altered leaves nothing; an installed version is never changed.
#pragma once
#include "base/path.h"
#include "json/codec.h"

#define RELEASE_DEFAULT "1.15.1"
// Where release v<version>'s files are: <base>/v<version>/firecracker-v<version>-<arch>.tgz, with
// its digest beside it as .sha256.txt. MVM_FIRECRACKER_URL replaces it (a mirror, a test).
#define RELEASE_URL "https://github.com/firecracker-microvm/firecracker/releases/download"

struct release {		 // manifest.json
	uint32_t schema_version; // 1
	char version[32];
	char arch[16];
	char source[512];
	char verified[32]; // "pinned", "release", or "none" (a folder of somebody's own)
	char firecracker_sha256[65];
	char jailer_sha256[65];
	char installed_at[25];
};
extern const struct field release_fields[];

struct release_ask {
	const char *version; // "1.15.1"; with from: "" takes what is there
	const char *from;    // NULL: the network; a .tgz file, or a folder
	const char *pinned;  // SHA-256 the tarball has to have, or ""
};
// *changed false: that version is there already, the same bytes. Other bytes: kind conflict.
int release_install(const struct release_ask *ask, struct release *ret, bool *changed,
		    struct err *e) MUST_CHECK;
int release_load(const char *version, struct release *ret, struct err *e) MUST_CHECK;
