/* First process of a pod sandbox or of a pid namespace: waits, and takes the orphans in. Ends on SIGTERM and SIGINT. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    sigset_t wanted;
    int signal;

    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGCHLD);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    while (sigwait(&wanted, &signal) == 0 && signal == SIGCHLD)
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    return 0;
}
