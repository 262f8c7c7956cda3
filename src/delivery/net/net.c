/*
 * net.c
 *		The delivery worker's own shared object: its entry point, and where transports
 *		that need libraries come in.
 *
 * It is loaded into that process only.  All it can do with the rest of the extension
 * is what MaDeliveryApi offers.
 */
#include "delivery/transport.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void ma_delivery_main(Datum arg);

/* Entry point of the background worker. */
void
ma_delivery_main(Datum arg)
{
	MaDeliveryApi *api = *(MaDeliveryApi **) find_rendezvous_variable(MA_DELIVERY_RENDEZVOUS);

	if (api == NULL)
		ereport(FATAL,
				(errcode(ERRCODE_MA_NOT_READY),
				 errmsg("library \"marketing_automation_net\" is version %s, marketing_automation is another one",
						MA_VERSION),
				 errhint("Restart the server after installing a new version.")));
	api->run();
}
