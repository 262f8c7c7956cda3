/*
 * address.c
 *		Which addresses belong to the public Internet.
 *
 * A name that an HTTP server is reached by may lead anywhere, and to somewhere else the
 * next time, so each address is judged when a socket is made for it.  What stands for an
 * IPv4 address within IPv6 is judged as that one.
 */
#include "delivery/net/http.h"

#include <arpa/inet.h>
#include <netinet/in.h>

typedef struct Range
{
	uint32		network;
	int			bits;
} Range;

static bool public_v4(uint32 address);
static bool public_v6(const uint8 *octets);

/* Special-purpose addresses (IANA's registry), multicast and what is reserved. */
static const Range special[] = {
	{0x00000000, 8},			/* this host */
	{0x0a000000, 8},			/* private */
	{0x64400000, 10},			/* shared by providers */
	{0x7f000000, 8},			/* loopback */
	{0xa9fe0000, 16},			/* link-local, with the clouds' metadata */
	{0xac100000, 12},			/* private */
	{0xc0000000, 24},			/* protocol assignments */
	{0xc0000200, 24},			/* documentation */
	{0xc0586300, 24},			/* relays of 6to4 */
	{0xc0a80000, 16},			/* private */
	{0xc6120000, 15},			/* benchmarks */
	{0xc6336400, 24},			/* documentation */
	{0xcb007100, 24},			/* documentation */
	{0xe0000000, 4},			/* multicast */
	{0xf0000000, 4},			/* reserved, broadcast */
};

static bool
public_v4(uint32 address)
{
	for (int i = 0; i < lengthof(special); i++)
		if ((address ^ special[i].network) >> (32 - special[i].bits) == 0)
			return false;
	return true;
}

static uint32
v4_at(const uint8 *octets)
{
	return (uint32) octets[0] << 24 | (uint32) octets[1] << 16 | (uint32) octets[2] << 8 |
		octets[3];
}

static bool
public_v6(const uint8 *octets)
{
	static const uint8 mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	static const uint8 nat64[12] = {0, 0x64, 0xff, 0x9b};

	if (memcmp(octets, mapped, 12) == 0 || memcmp(octets, nat64, 12) == 0)
		return public_v4(v4_at(octets + 12));
	if ((octets[0] & 0xe0) != 0x20)
		return false;			/* only 2000::/3 is given to the public */
	if (octets[0] == 0x20 && octets[1] == 0x02)
		return public_v4(v4_at(octets + 2));	/* 6to4 */
	if (octets[0] == 0x20 && octets[1] == 0x01 && octets[2] < 0x02)
		return false;			/* protocol assignments, with Teredo */
	if (octets[0] == 0x20 && octets[1] == 0x01 && octets[2] == 0x0d && octets[3] == 0xb8)
		return false;			/* documentation */
	if (octets[0] == 0x3f && octets[1] == 0xff && octets[2] < 0x10)
		return false;			/* documentation */
	return true;
}

bool
http_address_public(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return public_v4(ntohl(((const struct sockaddr_in *) address)->sin_addr.s_addr));
	if (address->sa_family == AF_INET6)
		return public_v6(((const struct sockaddr_in6 *) address)->sin6_addr.s6_addr);
	return false;
}
