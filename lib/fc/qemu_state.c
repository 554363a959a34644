// SPDX-License-Identifier: MIT
// The state file: 32 bytes of head, our document, QEMU's migration stream. QEMU checks almost
// nothing of what it is given, so the document says what the state belongs to, and the checksum
// that it is whole.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "fc/qemu_parts.h"

#define HEAD	   32u
#define VERSION	   1u
#define DOC_MAX	   (256 * KIB)
#define STREAM_MAX (256u << 20)

static const char magic[8] = "mvmqemu\n";

const struct field qemu_doc_fields[] = {
	{ FIELD_SLOT(struct qemu_doc, accel, char[8]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .doc = "kvm or tcg" },
	{ FIELD_SLOT(struct qemu_doc, cpu, char[32]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .doc = "CPU model" },
	{ FIELD_SLOT(struct qemu_doc, qemu, char[128]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .doc = "version of QEMU" },
	{ FIELD_SLOT(struct qemu_doc, tsc_khz, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 1ULL << 40, .doc = "rate of the time-stamp counter" },
	{ FIELD_NAMED("machine-config", struct qemu_doc, machine, struct fc_machine_config),
	  .kind = KIND_RECORD, .flags = FIELD_REQUIRED, .sub = fc_machine_config_fields,
	  .doc = "as in the API" },
	{ FIELD_NAMED("boot-source", struct qemu_doc, boot, struct fc_boot_source),
	  .kind = KIND_RECORD, .flags = FIELD_REQUIRED, .sub = fc_boot_source_fields,
	  .doc = "as in the API" },
	{ FIELD_SLOT(struct qemu_doc, drives, struct codec_list), .kind = KIND_LIST,
	  .max = QEMU_DRIVES, .sub = fc_drive_fields, .item_size = sizeof(struct fc_drive),
	  .doc = "as in the API" },
	{ FIELD_NAMED("network-interfaces", struct qemu_doc, nets, struct codec_list),
	  .kind = KIND_LIST, .max = QEMU_NETS, .sub = fc_net_fields,
	  .item_size = sizeof(struct fc_net), .doc = "as in the API" },
	{ FIELD_NAMED("vsock", struct qemu_doc, vsocks, struct codec_list), .kind = KIND_LIST,
	  .max = 1, .sub = fc_vsock_fields, .item_size = sizeof(struct fc_vsock),
	  .doc = "as in the API, or empty" },
	{ FIELD_SLOT(struct qemu_doc, entropy, bool), .kind = KIND_BOOL,
	  .doc = "there is a virtio-rng" },
	FIELD_END
};

void qemu_doc_clear(struct qemu_doc *d)
{
	codec_free(qemu_doc_fields, d);
	*d = (struct qemu_doc){ .entropy = false };
}

int qemu_doc_from_config(struct qemu_doc *d, const struct qemu_config *c, struct err *e)
{
	struct fc_vsock vsock = c->vsock;
	// Borrowed from the configuration; the way through text makes the copies.
	struct qemu_doc lent = { .accel = "-",
				 .cpu = "-",
				 .qemu = "-",
				 .machine = c->machine,
				 .boot = c->boot,
				 .drives = c->drives,
				 .nets = c->nets,
				 .entropy = c->has_entropy };
	cleanup_buf struct buf text = BUF_INIT;

	if (c->has_vsock)
		lent.vsocks = (struct codec_list){ .items = &vsock, .len = 1 };
	codec_print(qemu_doc_fields, &lent, &text);
	return codec_parse(qemu_doc_fields, text.data, text.len, d, e);
}

int qemu_config_from_doc(struct qemu_config *c, const struct qemu_doc *d, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct qemu_doc own = { .entropy = false };

	codec_print(qemu_doc_fields, d, &text);
	if (codec_parse(qemu_doc_fields, text.data, text.len, &own, e) < 0)
		return -e->no;
	*c = (struct qemu_config){ .machine = own.machine,
				   .boot = own.boot,
				   .drives = own.drives,
				   .nets = own.nets,
				   .has_entropy = own.entropy };
	if (own.vsocks.len) {
		c->has_vsock = true;
		c->vsock = *(struct fc_vsock *)own.vsocks.items;
		free(own.vsocks.items);
	}
	return 0;
}

void qemu_config_clear(struct qemu_config *c)
{
	codec_free(fc_machine_config_fields, &c->machine);
	codec_free(fc_boot_source_fields, &c->boot);
	codec_free_list(fc_drive_fields, sizeof(struct fc_drive), &c->drives);
	codec_free_list(fc_net_fields, sizeof(struct fc_net), &c->nets);
	codec_free(fc_vsock_fields, &c->vsock);
	*c = (struct qemu_config){ .has_vsock = false };
}

static void put64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

// Copies len bytes from one file to another and sums them up.
static int pass(int in, int out, uint64_t len, uint32_t *crc, struct err *e)
{
	uint8_t data[65536];

	while (len) {
		size_t want = (size_t)MIN(len, sizeof(data));

		if (fd_read_exact(in, data, want, 0, e) < 0 || fd_write_all(out, data, want, e) < 0)
			return -e->no;
		*crc = mux_crc32(*crc, data, want);
		len -= want;
	}
	return 0;
}

int qemu_state_write(int file, const struct qemu_doc *d, int stream, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	uint8_t head[HEAD] = { 0 };
	uint32_t crc = 0;
	struct stat st;

	if (fstat(stream, &st) < 0 || lseek(stream, 0, SEEK_SET) < 0)
		return err_sys(e, "QEMU's state");
	codec_print(qemu_doc_fields, d, &text);
	memcpy(head, magic, sizeof(magic));
	put64(head + 8, VERSION | (uint64_t)text.len << 32);
	put64(head + 16, (uint64_t)st.st_size);
	if (ftruncate(file, 0) < 0 || lseek(file, HEAD, SEEK_SET) < 0)
		return err_sys(e, "empty the state file");
	crc = mux_crc32(mux_crc32(0, head, HEAD - 8), text.data, text.len);
	if (fd_write_all(file, text.data, text.len, e) < 0 ||
	    pass(stream, file, (uint64_t)st.st_size, &crc, e) < 0)
		return err_wrap(e, "state file");
	// The head last: without it nobody takes the file for a state.
	put64(head + 24, crc);
	if (pwrite(file, head, HEAD, 0) != (ssize_t)HEAD || fsync(file) < 0)
		return err_sys(e, "write the state file");
	return 0;
}

static int read_head(int file, uint8_t head[HEAD], uint64_t *ret_doc, uint64_t *ret_stream,
		     struct err *e)
{
	struct stat st;

	if (fstat(file, &st) < 0)
		return err_sys(e, "stat");
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)HEAD)
		return err_kind(e, ERR_DAMAGED, "not a state file of mvm-fc-qemu");
	if (fd_read_exact(file, head, HEAD, 0, e) < 0)
		return -e->no;
	if (memcmp(head, magic, sizeof(magic)) != 0)
		return err_kind(e, ERR_DAMAGED, "not a state file of mvm-fc-qemu");
	if ((uint32_t)get64(head + 8) != VERSION)
		return err_kind(e, ERR_DAMAGED, "its format has version %u, known here is %u",
				(uint32_t)get64(head + 8), VERSION);
	*ret_doc = get64(head + 8) >> 32;
	*ret_stream = get64(head + 16);
	if (*ret_doc > DOC_MAX || *ret_stream > STREAM_MAX ||
	    (uint64_t)st.st_size != HEAD + *ret_doc + *ret_stream)
		return err_kind(e, ERR_DAMAGED, "it is cut, or has more than it should");
	return 0;
}

int qemu_state_read(int file, struct qemu_doc *d, int *ret_stream, struct err *e)
{
	cleanup_free char *text = NULL;
	cleanup_fd int stream = memfd_create("qemu-state", MFD_CLOEXEC);
	uint64_t doc_len = 0, stream_len = 0;
	uint8_t head[HEAD] = { 0 };
	uint32_t crc;

	if (stream < 0)
		return err_sys(e, "memfd");
	if (read_head(file, head, &doc_len, &stream_len, e) < 0)
		return -e->no;
	text = base_alloc(1, doc_len + 1);
	if (fd_read_exact(file, text, doc_len, 0, e) < 0)
		return -e->no;
	crc = mux_crc32(mux_crc32(0, head, HEAD - 8), text, doc_len);
	if (pass(file, stream, stream_len, &crc, e) < 0)
		return -e->no;
	if (get64(head + 24) != crc)
		return err_kind(e, ERR_DAMAGED, "its checksum is wrong");
	if (lseek(stream, 0, SEEK_SET) < 0)
		return err_sys(e, "rewind");
	if (codec_parse(qemu_doc_fields, text, doc_len, d, e) < 0)
		return err_wrap(e, "its description");
	*ret_stream = steal_fd(&stream);
	return 0;
}
