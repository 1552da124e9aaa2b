// Ports of the host that are published.
#ifndef CL_HOST_PORT_H
#define CL_HOST_PORT_H

#include <stdint.h>

// A socket bound to an address of family 4 or 6 (IPv4: the low 32 bits of `low`), or with family 0 to every address of
// both; it does not block and is closed on exec. A stream listens. -1 with errno set on failure.
int cl_host_port(int family, uint64_t high, uint64_t low, uint16_t port, int stream);

#endif
