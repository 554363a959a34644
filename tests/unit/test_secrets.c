// SPDX-License-Identifier: MIT
// Secrets in memory, sealed, and in their drive.
#include "base/sha256.h"
#include "base/trailer.h"
#include "disk/image.h"
#include "disk/secrets.h"
#include "sys/digest.h"
#include "tap.h"

#include <endian.h>
#include <fcntl.h>

#include "base/num.h"

static void hex_of(const void *data, size_t len, digest_text out)
{
	uint8_t raw[32];
	struct sha256 s;

	sha256_begin(&s);
	for (size_t at = 0; at < len;) { // in pieces of odd sizes
		size_t n = MIN(len - at, 1 + at % 97);

		sha256_add(&s, (const uint8_t *)data + at, n);
		at += n;
	}
	sha256_end(&s, raw);
	num_to_hex(raw, sizeof(raw), out);
}

TEST(sha256_is_that_of_the_standard_and_of_libcrypto)
{
	digest_text ours, theirs;
	uint8_t data[300];
	struct err e = { 0 };

	hex_of("abc", 3, ours);
	CHECK_STR(ours, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	for (size_t n = 0; n < sizeof(data); n++) {
		data[n] = (uint8_t)(n * 7);
		hex_of(data, n, ours);
		CHECK(digest_data(data, n, theirs, &e) == 0);
		CHECK_STR(ours, theirs);
	}
}

static struct safe text_of(const char *s)
{
	struct safe out = SAFE_NONE;
	struct err e = { 0 };

	CHECK(safe_add(&out, s, strlen(s), &e) == 0);
	return out;
}

static void put(struct secrets *s, const char *name, const char *value, bool want)
{
	cleanup_safe struct safe v = text_of(value);
	bool changed = false;
	struct err e = { 0 };

	CHECK(secrets_put(s, name, &v, &changed, &e) == 0);
	CHECK(changed == want);
}

static bool has(const struct secrets *s, size_t i, const char *name, const char *value)
{
	return i < s->len && str_eq(s->items[i].name, name) && s->items[i].len == strlen(value) &&
	       (!*value || memcmp(s->text.data + s->items[i].at, value, strlen(value)) == 0);
}

TEST(what_is_locked_grows_and_keeps_what_it_has)
{
	cleanup_safe struct safe s = SAFE_NONE;
	struct err e = { 0 };

	for (unsigned i = 0; i < 50000; i++)
		CHECK(safe_add(&s, &i, sizeof(i), &e) == 0);
	for (unsigned i = 0; i < 50000; i++)
		if (memcmp(s.data + i * sizeof(i), &i, sizeof(i)) != 0)
			tap_fail(__FILE__, __LINE__, "word %u was lost", i);
	CHECK_INT(s.len, 50000 * sizeof(unsigned));
}

TEST(secrets_are_kept_in_order_and_equal_ones_change_nothing)
{
	cleanup_secrets struct secrets s = SECRETS_NONE;

	put(&s, "b", "two", true);
	put(&s, "a", "one", true);
	put(&s, "c", "", true);
	put(&s, "b", "two", false);
	put(&s, "c", "", false);
	put(&s, "b", "other", true);
	CHECK_INT(s.len, 3);
	CHECK(has(&s, 0, "a", "one") && has(&s, 1, "b", "other") && has(&s, 2, "c", ""));
	CHECK(secrets_remove(&s, "b") && !secrets_remove(&s, "b"));
	CHECK(s.len == 2 && has(&s, 1, "c", ""));
}

TEST(names_and_numbers_are_held_to_their_limits)
{
	static const char *const good[] = { "a", "A.b_c-9", "..a", "-", "0" };
	static const char *const bad[] = { "", ".", "..", "a/b", "a b", "a=", "\303\244", "a\n" };
	cleanup_secrets struct secrets s = SECRETS_NONE;
	cleanup_safe struct safe v = text_of("x"), big = SAFE_NONE;
	bool changed = false;
	struct err e = { 0 };
	char name[80];

	for (size_t i = 0; i < COUNT(good); i++)
		CHECK(secrets_name_check(good[i], &e) == 0);
	for (size_t i = 0; i < COUNT(bad); i++)
		CHECK(secrets_name_check(bad[i], &e) < 0 && e.kind == ERR_USAGE);
	memset(name, 'n', 65);
	name[65] = '\0';
	CHECK(secrets_name_check(name, &e) < 0);
	name[64] = '\0';
	CHECK(secrets_name_check(name, &e) == 0);
	for (unsigned i = 0; i < SECRETS_MAX; i++) {
		base_cut(name, sizeof(name), "n%u", i);
		CHECK(secrets_put(&s, name, &v, &changed, &e) == 0);
	}
	CHECK(secrets_put(&s, "more", &v, &changed, &e) < 0 && e.kind == ERR_QUOTA);
	CHECK(secrets_put(&s, "n7", &v, &changed, &e) == 0);
	CHECK(safe_more(&big, SECRETS_VALUE + 1, &e) == 0);
	big.len = SECRETS_VALUE;
	CHECK(secrets_put(&s, "n7", &big, &changed, &e) == 0);
	big.len++;
	CHECK(secrets_put(&s, "n7", &big, &changed, &e) < 0 && e.kind == ERR_USAGE);
}

TEST(the_text_that_is_sealed_comes_back_and_nothing_else_is_taken)
{
	cleanup_secrets struct secrets s = SECRETS_NONE, again = SECRETS_NONE;
	cleanup_safe struct safe text = SAFE_NONE, twice = SAFE_NONE;
	struct err e = { 0 };

	put(&s, "db", "pass word", true);
	put(&s, "empty", "", true);
	put(&s, "z", "last", true);
	CHECK(secrets_print(&s, &text, &e) == 0);
	for (size_t len = 0; len < text.len; len++) {
		cleanup_safe struct safe cut = SAFE_NONE;

		CHECK(safe_add(&cut, text.data, len, &e) == 0);
		CHECK(secrets_parse(&again, &cut, &e) < 0 && e.kind == ERR_DAMAGED);
		CHECK(cut.data == NULL && again.len == 0);
	}
	cleanup_safe struct safe longer = SAFE_NONE, whole = SAFE_NONE;

	CHECK(safe_add(&longer, text.data, text.len, &e) == 0 && safe_add(&longer, "", 1, &e) == 0);
	CHECK(secrets_parse(&again, &longer, &e) < 0 && e.kind == ERR_DAMAGED);
	CHECK(safe_add(&whole, text.data, text.len, &e) == 0);
	CHECK(secrets_parse(&again, &whole, &e) == 0);
	CHECK(has(&again, 0, "db", "pass word") && has(&again, 1, "empty", ""));
	CHECK(secrets_print(&again, &twice, &e) == 0);
	CHECK(twice.len == text.len && memcmp(twice.data, text.data, text.len) == 0);
}

static struct seal_key key_of(uint8_t fill)
{
	struct seal_key k = { .key = { 0 } };

	memset(k.key, fill, sizeof(k.key));
	seal_key_id(&k);
	return k;
}

static const struct seal_place here = { "node-1", "acme", 7 };

TEST(what_is_sealed_opens_with_its_key_at_its_place)
{
	static const size_t sizes[] = { 0, 1, 15, 16, 17, 70000 };
	const struct seal_key k = key_of(1);

	for (size_t i = 0; i < COUNT(sizes); i++) {
		cleanup_safe struct safe plain = SAFE_NONE, back = SAFE_NONE;
		cleanup_buf struct buf a = BUF_INIT, b = BUF_INIT;
		struct err e = { 0 };

		CHECK(safe_more(&plain, sizes[i], &e) == 0);
		plain.len = sizes[i];
		if (plain.len)
			memset(plain.data, 'p', plain.len);
		CHECK(seal_close(&k, &here, &plain, &a, &e) == 0);
		CHECK(seal_close(&k, &here, &plain, &b, &e) == 0);
		CHECK(a.len == b.len && memcmp(a.data, b.data, a.len) != 0); // never the same twice
		CHECK(!memmem(a.data, a.len, "pppp", 4));
		CHECK(seal_open(&k, &here, a.data, a.len, &back, &e) == 0);
		CHECK(back.len == plain.len);
		CHECK(!plain.len || memcmp(back.data, plain.data, plain.len) == 0);
	}
}

TEST(another_key_is_denied_and_another_place_is_damaged)
{
	static const struct seal_place others[] = { { "node-2", "acme", 7 },
						    { "node-1", "zeta", 7 },
						    { "node-1", "acme", 8 },
						    { "node-1a", "cme", 7 } };
	const struct seal_key k = key_of(1), other = key_of(2);
	cleanup_safe struct safe plain = text_of("secret"), back = SAFE_NONE;
	cleanup_buf struct buf a = BUF_INIT;
	struct err e = { 0 };

	CHECK(seal_close(&k, &here, &plain, &a, &e) == 0);
	CHECK(seal_open(&other, &here, a.data, a.len, &back, &e) < 0 && e.kind == ERR_DENIED);
	for (size_t i = 0; i < COUNT(others); i++)
		CHECK(seal_open(&k, &others[i], a.data, a.len, &back, &e) < 0 &&
		      e.kind == ERR_DAMAGED);
	CHECK(back.data == NULL);
}

TEST(no_byte_of_it_can_be_changed_and_none_be_missing)
{
	const struct seal_key k = key_of(1);
	cleanup_safe struct safe plain = text_of("secret"), back = SAFE_NONE;
	cleanup_buf struct buf a = BUF_INIT;
	struct err e = { 0 };

	CHECK(seal_close(&k, &here, &plain, &a, &e) == 0);
	CHECK_INT(a.len, SEAL_HEAD + 6 + SEAL_TAG);
	for (size_t i = 0; i < a.len; i++) {
		a.data[i] ^= 0x10;
		CHECK(seal_open(&k, &here, a.data, a.len, &back, &e) < 0);
		CHECK(e.kind == (i >= 8 && i < 16 ? ERR_DENIED : ERR_DAMAGED)); // 8-15: the key id
		a.data[i] ^= 0x10;
		CHECK(seal_open(&k, &here, a.data, i, &back, &e) < 0 && e.kind == ERR_DAMAGED);
	}
	CHECK(seal_open(&k, &here, a.data, a.len, &back, &e) == 0);
}

static int new_drive(uint64_t size)
{
	int fd = openat(AT_FDCWD, tap_dir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	return fd;
}

static struct safe image_with(const struct image_file *files, size_t n)
{
	const struct image i = { "mvm-secrets", 0400, 0500, files, n, 0 };
	struct safe out = SAFE_NONE;
	struct err e = { 0 };

	CHECK(image_make(&i, &out, &e) == 0);
	CHECK_INT(out.len, image_bytes(&i));
	return out;
}

TEST(an_image_has_its_label_and_its_files)
{
	static const struct image_file files[] = { { "b", "two", 3 }, { "-a", "", 0 } };
	cleanup_safe struct safe i = image_with(files, COUNT(files));
	// "-a", ".", "..", "b": in order, 12 bytes for each and then the names
	const uint8_t *dir = i.data + 8192;

	CHECK_INT(i.len, 4 * 4096);
	CHECK(memcmp(i.data + 1024, "\xe2\xe1\xf5\xe0", 4) == 0);
	CHECK_STR((const char *)i.data + 1088, "mvm-secrets");
	CHECK(memcmp(dir + 4 * 12, "-a...b", 7) == 0);
	CHECK(dir[0] == 3 && dir[12] == 1 && dir[24] == 1 && dir[36] == 2); // inodes
	CHECK(memcmp(i.data + 3 * 4096, "two", 4) == 0);
}

// Names that fill more than a block: none may be split or lost.
TEST(a_directory_of_the_longest_names_takes_two_blocks)
{
	static char names[SECRETS_MAX][SECRETS_NAME_MAX + 1];
	struct image_file files[SECRETS_MAX];
	size_t seen = 0;

	for (size_t n = 0; n < SECRETS_MAX; n++) {
		memset(names[n], 'x', SECRETS_NAME_MAX);
		names[n][0] = (char)('A' + n % 26);
		names[n][1] = (char)('a' + n / 26);
		files[n] = (struct image_file){ names[n], NULL, 0 };
	}
	cleanup_safe struct safe i = image_with(files, SECRETS_MAX);

	CHECK_INT(i.len, 4 * 4096);
	for (unsigned b = 2; b < 4; b++) {
		const uint8_t *dir = i.data + (size_t)b * 4096;
		unsigned count = (unsigned)(dir[8] | dir[9] << 8) / 12;

		for (unsigned k = 0; k < count; k++) {
			unsigned at = (unsigned)(dir[k * 12 + 8] | dir[k * 12 + 9] << 8);

			CHECK(at < 4096);
			seen += dir[at] != '.' && at + SECRETS_NAME_MAX <= 4096;
		}
	}
	CHECK_INT(seen, SECRETS_MAX);
}

TEST(a_rewritten_drive_holds_nothing_of_what_it_held)
{
	static char old[9000], read_back[MIB];
	const struct image_file before[] = { { "a", old, sizeof(old) } },
				after[] = { { "b", "n", 1 } };
	const struct image_drive fresh = { MIB, 1, true }, again = { MIB, 2, false };
	cleanup_fd int fd = new_drive(MIB);
	struct trailer t = { 0 }, seen = { 0 };
	struct err e = { 0 };

	memset(old, 'o', sizeof(old));
	cleanup_safe struct safe one = image_with(before, 1), two = image_with(after, 1);

	CHECK(image_write(fd, &fresh, &one, &t, &e) == 0);
	CHECK(trailer_check(fd, &seen, &e) == 0 && seen.number == 1 && seen.used == one.len);
	CHECK(image_write(fd, &again, &two, &t, &e) == 0);
	CHECK(trailer_check(fd, &seen, &e) == 0 && seen.number == 2);
	CHECK(memcmp(seen.digest, t.digest, sizeof(t.digest)) == 0);
	CHECK(pread(fd, read_back, MIB, 0) == (ssize_t)MIB);
	CHECK(!memmem(read_back, MIB, "oooo", 4));
}

TEST(a_drive_that_is_half_rewritten_is_not_taken)
{
	static const char *const points[] = { "image-cleared:err=EIO", "image-written:err=EIO" };
	static const struct image_file file = { "a", "text", 4 };
	const struct image_drive drive = { MIB, 1, false };

	for (size_t p = 0; p < COUNT(points); p++) {
		cleanup_safe struct safe i = image_with(&file, 1);
		cleanup_fd int fd = new_drive(MIB);
		struct trailer t = { 0 };
		struct err e = { 0 };

		CHECK(image_write(fd, &drive, &i, &t, &e) == 0);
		CHECK(setenv("MVM_FAULT", points[p], 1) == 0);
		CHECK(image_write(fd, &drive, &i, &t, &e) < 0);
		CHECK(unsetenv("MVM_FAULT") == 0);
		CHECK(trailer_check(fd, &t, &e) < 0 && strstr(e.msg, "digest"));
		err_clear(&e);
		CHECK(image_write(fd, &drive, &i, &t, &e) == 0);
		CHECK(trailer_check(fd, &t, &e) == 0);
	}
}

TEST(a_trailer_that_lies_is_not_believed)
{
	static const struct image_file file = { "a", "text", 4 };
	const struct image_drive drive = { MIB, 1, true };
	cleanup_safe struct safe i = image_with(&file, 1);
	cleanup_fd int fd = new_drive(MIB), small = new_drive(100);
	struct trailer t = { 0 };
	struct err e = { 0 };

	CHECK(image_write(fd, &drive, &i, &t, &e) == 0);
	for (off_t at = 0; at < 64; at++) {
		uint8_t byte = 0, other;

		CHECK(pread(fd, &byte, 1, (off_t)MIB - 4096 + at) == 1);
		other = byte ^ 0xff;
		CHECK(pwrite(fd, &other, 1, (off_t)MIB - 4096 + at) == 1);
		CHECK(trailer_check(fd, &t, &e) < 0);
		CHECK(pwrite(fd, &byte, 1, (off_t)MIB - 4096 + at) == 1);
	}
	err_clear(&e);
	CHECK(trailer_check(fd, &t, &e) == 0);
	CHECK(trailer_check(small, &t, &e) < 0);
}

TEST(what_does_not_fit_into_its_drive_is_over_quota)
{
	struct err e = { 0 };

	CHECK(image_check_size(MIB - 4096, 1, &e) == 0);
	CHECK(image_check_size(MIB, 1, &e) < 0 && e.kind == ERR_QUOTA);
}
