// SPDX-License-Identifier: MIT
#include "life/held.h"

int held_open(struct held *h, const struct address *a, int wait_ms, struct err *e)
{
	h->a = *a;
	address_print(a, h->address);
	if (store_lock(&h->tenant_store, STORE_TENANT, a, wait_ms, e) < 0 ||
	    store_lock(&h->store, STORE_INSTANCE, a, wait_ms, e) < 0 ||
	    tenant_load_from(&h->tenant_store, &h->tenant, e) < 0 ||
	    pool_load(a->tenant, a->pool, &h->pool, e) < 0 ||
	    instance_load_from(&h->store, a, &h->tenant, &h->i, e) < 0)
		return err_object(e, "%s", h->address);
	return 0;
}

void held_close(struct held *h)
{
	store_close(&h->store);
	store_close(&h->tenant_store);
	pool_free(&h->pool);
	memset(&h->pool, 0, sizeof(h->pool));
}

int held_save(struct held *h, struct err *e)
{
	return instance_save(&h->store, &h->i, e);
}

static void from_environment(char *out, size_t size, const char *name)
{
	const char *value = getenv(name);

	if (base_copy(out, size, value ? value : "") < 0)
		out[0] = '\0';
}

int held_save_exit(struct held *h, enum exit_cause cause, const char *message,
		   const struct result_error *error, struct err *e)
{
	struct exit_record r = { .schema_version = 1, .cause = (int)cause };

	// systemd and mvm-sup tell the VMM's end in the same three variables.
	from_environment(r.exit_code, sizeof(r.exit_code), "EXIT_CODE");
	from_environment(r.exit_status, sizeof(r.exit_status), "EXIT_STATUS");
	from_environment(r.service_result, sizeof(r.service_result), "SERVICE_RESULT");
	(void)snprintf(r.message, sizeof(r.message), "%s", message);
	clock_utc(r.at);
	if (error)
		r.error = *error;
	(void)snprintf(h->i.last_exit, sizeof(h->i.last_exit), "%s", exit_cause_names[cause]);
	return exit_save(&h->store, &r, e);
}
