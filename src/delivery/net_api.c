/*
 * net_api.c
 *		What the main shared object offers to the delivery worker's own one.
 */
#include "base/base.h"

#include "delivery/delivery_internal.h"
#include "worker/worker.h"

static void add_transport(const MaTransport *transport);

static const MaHelper helper = {
	.name = "marketing_automation delivery",
	.library = MA_EXTENSION "_net",
	.function = "ma_delivery_main",
};

static const MaDeliveryApi api = {ma_helper_run, add_transport};

void
ma_net_api_init(void)
{
	*find_rendezvous_variable(MA_DELIVERY_RENDEZVOUS) = unconstify(MaDeliveryApi *, &api);
	ma_worker_register_helper(&helper);
}

static void
add_transport(const MaTransport *transport)
{
	ma_transport_add(transport);
}
