/* thread_test: a process that ends while a thread goes on that nobody waits for runs no exit
 * handlers, which would end libraries below the thread; otherwise it runs them.
 */
#include "base/thread.h"

#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#define STATUS 7

static int to_test;             /* a pipe's writing end, of a process that is to end */

static void end_library(void)
{
    if (write(to_test, "x", 1) != 1)
        abort();
}

static void *go_on(void *data)
{
    for (;;)
        pause();
    return data;
}

static void *end_at_once(void *data)
{
    return data;
}

static int count_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    int count = 0;

    while (tasks && (task = readdir(tasks)))
        count += task->d_name[0] != '.';
    if (tasks)
        closedir(tasks);
    return count;
}

static void start(void *(*run)(void *))
{
    if (rpc_thread_start_detached(run, NULL) != 0)
        abort();
}

static void start_one(void)
{
    start(go_on);
}

static void start_one_that_ends(void)
{
    start(end_at_once);
    while (count_threads() > 1)
        usleep(1000);
}

static void start_both(void)
{
    start_one();
    start(end_at_once);
    while (count_threads() > 2)
        usleep(1000);
}

/* The calling thread is somebody else's. */
static void be_spared(void)
{
    rpc_thread_spare(1);
}

static void be_spared_no_more(void)
{
    rpc_thread_spare(1);
    rpc_thread_spare(-1);
}

/* Does a process that does PREPARE, and then exits, run its exit handlers? Its status is right. */
static int runs_handlers(void (*prepare)(void))
{
    int fds[2], status;
    char byte;
    ssize_t n;
    pid_t pid;

    if (pipe(fds) != 0 || (pid = fork()) < 0)
        abort();
    if (pid == 0) {
        to_test = fds[1];
        atexit(end_library);
        prepare();
        exit(STATUS);
    }
    close(fds[1]);
    n = read(fds[0], &byte, 1);
    close(fds[0]);
    if (waitpid(pid, &status, 0) != pid)
        abort();
    is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -1, STATUS, "the process ends as it wants to");
    return n == 1;
}

int main(void)
{
    ok(!runs_handlers(start_one), "nothing ends below a thread that goes on");
    ok(!runs_handlers(start_both), "though another one has ended");
    ok(runs_handlers(start_one_that_ends), "exit handlers run when it has ended");
    ok(!runs_handlers(be_spared), "nothing ends below a thread that asks for it");
    ok(runs_handlers(be_spared_no_more), "until it asks no more");
    return unit_done();
}
