/*
 * address.c
 *		Addresses: what passes can stand in a header and a command as it is.
 */
#include "postgres.h"

#include "contacts/contacts.h"
#include "content/content.h"
#include "fuzz.h"

static void
target(char *text, int length)
{
	bool		smtputf8;
	char	   *email;
	char	   *wire;

	if (!fuzz_is_text(text, length))
		return;
	(void) ma_normalise_phone(text);
	email = ma_normalise_email(text);
	if (email != NULL)
	{
		char	   *again = ma_normalise_email(email);

		if (again == NULL || strcmp(again, email) != 0)
			fuzz_fail("a normal form is normal");
	}
	wire = ma_mime_address(email != NULL ? email : text, &smtputf8);
	if (wire == NULL)
		return;
	for (char *c = wire; *c; c++)
		if ((unsigned char) *c <= ' ' || *c == 0x7F || strchr("<>,;()\"\\", *c) != NULL ||
			((unsigned char) *c >= 0x80 && !smtputf8))
			fuzz_fail("an address holds nothing that ends it");
	if (!ma_mime_recipient_ok(wire) || (!smtputf8 && !ma_mime_address_ok(wire)))
		fuzz_fail("an address on the wire is valid");
	if (strchr(wire, '@') != strrchr(wire, '@'))
		fuzz_fail("an address has one @");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_run(target, data, size);
}
