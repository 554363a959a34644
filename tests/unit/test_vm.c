// SPDX-License-Identifier: MIT
// What a VMM is asked, by one that only writes it down.
#include "life/vm.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "life/take.h"
#include "test_snap_world.h"

#define ASKED "asked" // a line for each request: method, path, body

static int64_t number_after(const char *text, const char *key)
{
	const char *at = strcasestr(text, key);

	return at ? strtoll(at + strlen(key), NULL, 10) : 0;
}

// One request; false when there is none.
static bool read_request(int fd, char *text, size_t size)
{
	size_t len = 0;

	for (;;) {
		ssize_t n = read(fd, text + len, size - 1 - len);
		const char *end;

		if (n <= 0)
			return false;
		len += (size_t)n;
		text[len] = '\0';
		end = strstr(text, "\r\n\r\n");
		if (end &&
		    len >= (size_t)(end + 4 - text) + (size_t)number_after(text, "content-length:"))
			return true;
	}
}

// Refuses each capture.
static void serve(int dir, int sock)
{
	static const char ok[] = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
	static const char no[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 21\r\n\r\n"
				 "{\"fault_message\":\"x\"}";
	int out = openat(dir, ASKED, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char text[4096];

	for (;;) {
		int fd = accept(sock, NULL, NULL);

		while (fd >= 0 && read_request(fd, text, sizeof(text))) {
			bool create = strstr(text, "/snapshot/create");

			(void)dprintf(out, "%.*s %s\n", (int)(strstr(text, " HTTP/") - text), text,
				      strstr(text, "\r\n\r\n") + 4);
			if (write(fd, create ? no : ok, strlen(create ? no : ok)) < 0)
				break;
		}
		(void)close(fd);
	}
}

struct fake {
	struct vm vm;
	pid_t pid;
};

static void fake_open(struct fake *f, enum instance_vmm vmm, const char *version)
{
	struct err e = { 0 };
	int sock;

	*f = (struct fake){ .vm = VM_NONE };
	f->vm.i.vmm = (int)vmm;
	f->vm.uid = getuid();
	base_cut(f->vm.i.vmm_version, sizeof(f->vm.i.vmm_version), "%s", version);
	f->vm.jail.run = open(tap_dir(), O_DIRECTORY | O_CLOEXEC);
	CHECK(f->vm.jail.run >= 0);
	(void)unlinkat(f->vm.jail.run, "api.sock", 0);
	sock = fd_unix_listen(f->vm.jail.run, "api.sock", 0600, 8, &e);
	CHECK(sock >= 0);
	f->pid = fork();
	if (f->pid == 0)
		serve(f->vm.jail.run, sock);
	(void)close(sock);
}

// What it was asked, in one line.
static void fake_close(struct fake *f, struct buf *asked)
{
	struct err e = { 0 };

	CHECK(kill(f->pid, SIGKILL) == 0 && waitpid(f->pid, NULL, 0) == f->pid);
	CHECK(fd_read_file(f->vm.jail.run, ASKED, 65536, asked, &e) == 0);
	vm_close(&f->vm);
}

#define RESUMED "PATCH /vm {\"state\":\"Resumed\"}\n"

TEST(a_vm_of_a_good_release_is_only_run)
{
	static const struct {
		enum instance_vmm vmm;
		const char *version;
	} good[] = { { INSTANCE_VMM_FIRECRACKER, "1.15.1" },
		     { INSTANCE_VMM_FIRECRACKER, "1.16.2" },
		     { INSTANCE_VMM_QEMU, "1.16.1" } };

	for (size_t i = 0; i < COUNT(good); i++) {
		cleanup_buf struct buf asked = BUF_INIT;
		struct err e = { 0 };
		struct fake f;

		fake_open(&f, good[i].vmm, good[i].version);
		CHECK(vm_run(&f.vm, &e) == 0);
		fake_close(&f, &asked);
		CHECK_STR(buf_text(&asked), RESUMED);
	}
}

TEST(one_whose_vsock_a_resume_would_block_gets_its_reset_while_it_stands_still)
{
	static const char *const bad[] = { "1.16.0", "1.16.1", "1.16.1-dev" };

	for (size_t i = 0; i < COUNT(bad); i++) {
		cleanup_buf struct buf asked = BUF_INIT;
		struct err e = { 0 };
		struct fake f;

		fake_open(&f, INSTANCE_VMM_FIRECRACKER, bad[i]);
		CHECK(vm_run(&f.vm, &e) == 0);
		fake_close(&f, &asked);
		CHECK_STR(buf_text(&asked),
			  "PATCH /vm {\"state\":\"Paused\"}\n"
			  "PUT /snapshot/create {\"snapshot_type\":\"Full\",\"snapshot_path\":"
			  "\"/snap/none/vmstate\",\"mem_file_path\":\"/snap/none/mem\"}\n" RESUMED);
	}
}

TEST(what_is_not_a_version_is_not_run_as_if_it_were_a_good_one)
{
	cleanup_buf struct buf asked = BUF_INIT;
	struct err e = { 0 };
	struct fake f;

	fake_open(&f, INSTANCE_VMM_FIRECRACKER, "one");
	CHECK(vm_run(&f.vm, &e) == 0);
	fake_close(&f, &asked);
	CHECK(strstr(buf_text(&asked), "Paused") && strstr(buf_text(&asked), RESUMED));
}

TEST(a_vmm_that_ends_on_the_way_is_an_error)
{
	cleanup_buf struct buf asked = BUF_INIT;
	struct err e = { 0 };
	struct fake f;

	fake_open(&f, INSTANCE_VMM_FIRECRACKER, "1.16.1");
	CHECK(kill(f.pid, SIGKILL) == 0 && waitpid(f.pid, NULL, 0) == f.pid);
	CHECK(vm_run(&f.vm, &e) < 0);
	CHECK(strstr(e.msg, "reset the guest's vsock"));
	vm_close(&f.vm);
}

static int check_release(enum instance_status status, const char *version, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct instance i = { 0 };

	world_lock(&s);
	must(instance_load_from(&s, &world_at, NULL, &i, e), e);
	i.vmm = INSTANCE_VMM_FIRECRACKER;
	instance_set_status(&i, status);
	base_cut(i.vmm_version, sizeof(i.vmm_version), "%s", version);
	must(instance_save(&s, &i, e), e);
	return take_check_release(&world_at, e);
}

TEST(one_whose_capture_could_not_be_loaded_is_not_touched)
{
	struct err e = { 0 };

	world_make();
	CHECK(check_release(INSTANCE_RUNNING, "1.16.1", &e) == 0);
	CHECK(check_release(INSTANCE_RUNNING, "1.16.0", &e) < 0 && e.kind == ERR_STATE);
	CHECK(strstr(e.msg, "vsock may hang"));
	err_clear(&e);
	CHECK(check_release(INSTANCE_WARM, "1.11.0", &e) < 0 && e.kind == ERR_STATE);
	err_clear(&e);
	// what last ran it is of no account
	CHECK(check_release(INSTANCE_SLEEPING, "1.16.0", &e) == 0);
}
