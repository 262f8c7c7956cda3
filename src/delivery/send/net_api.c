/*
 * net_api.c
 *		What the main shared object offers to the delivery worker's own one.
 */
#include "base/base.h"

#include "delivery/delivery_internal.h"
#include "worker/worker.h"

static const MaHelper helper = {
	.name = "marketing_automation delivery",
	.library = MA_EXTENSION "_net",
	.function = "ma_delivery_main",
};

static const MaDeliveryApi api = {
	ma_helper_run, ma_transport_add, ma_network_set, ma_message_begun, ma_message_handed,
	ma_message_finished, ma_credential_read
};

void
ma_net_api_init(void)
{
	*find_rendezvous_variable(MA_DELIVERY_RENDEZVOUS) = unconstify(MaDeliveryApi *, &api);
	ma_worker_register_helper(&helper);
}
