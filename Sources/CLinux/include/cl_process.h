// Processes: what has to happen between fork and exec, where Swift may not run.
#ifndef CL_PROCESS_H
#define CL_PROCESS_H

#endif
