// Puts the test process into its lab before main: user namespaces can only be made while there is one thread.
#ifndef CLAB_H
#define CLAB_H

// For the addresses of LabSockets.
#include <arpa/inet.h>
#include <netinet/in.h>

// Empty if the process is in its lab, else why not.
const char *clab_unavailable(void);
// Whether ids besides root's are mapped, so that tests can become another user.
int clab_has_other_users(void);
// Whether the process was started by the host's root.
int clab_started_as_root(void);

// Takes every capability from the calling thread, and from no other.
int clab_drop_capabilities(void);

#endif
