/* rpcload_process.c: sums over /proc/PID of a process and its descendants. */
#include "rpcload_process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench_rpc.h"

typedef double of_process_t(pid_t pid);

static double seconds(clockid_t clock)
{
    struct timespec ts;

    if (clock_gettime(clock, &ts) < 0)
        bench_die("no clock of a process: %m");
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

double bench_now(void)
{
    return seconds(CLOCK_MONOTONIC);
}

static FILE *open_proc(pid_t pid, const char *name)
{
    char path[80];
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    f = fopen(path, "r");
    if (!f)
        bench_die("cannot read %s: %m", path);
    return f;
}

/* The kernel lists the children of each thread; those of httpd and HAProxy belong to the first. */
static double sum(pid_t pid, of_process_t *value)
{
    char name[40];
    double total = value(pid);
    FILE *f;
    int child;

    snprintf(name, sizeof(name), "task/%d/children", (int)pid);
    f = open_proc(pid, name);
    while (fscanf(f, "%d", &child) == 1)
        total += sum(child, value);
    fclose(f);
    return total;
}

static double cpu(pid_t pid)
{
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) != 0)
        bench_die("process %d has gone", (int)pid);
    return seconds(clock);
}

static double pss_kb(pid_t pid)
{
    FILE *f = open_proc(pid, "smaps_rollup");
    char line[128];
    double kb = 0;

    while (fgets(line, sizeof(line), f)) {
        if (strncmp(line, "Pss:", 4) == 0)
            kb = atof(line + 4);
    }
    fclose(f);
    return kb;
}

static double entries(pid_t pid, const char *name)
{
    char path[64];
    DIR *dir;
    int n = 0;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    dir = opendir(path);
    if (!dir)
        bench_die("cannot read %s: %m", path);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;   /* . and .. */
}

static double descriptors(pid_t pid)
{
    return entries(pid, "fd");
}

static double threads(pid_t pid)
{
    return entries(pid, "task");
}

/* Fields 14 and 15 of stat, counted behind the name, which may contain anything but ")". */
static double ticks(pid_t pid, int is_sys)
{
    FILE *f = open_proc(pid, "stat");
    unsigned long user = 0, sys = 0;

    if (fscanf(f, "%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2)
        bench_die("cannot read the times of process %d", (int)pid);
    fclose(f);
    return (double)(is_sys ? sys : user) / (double)sysconf(_SC_CLK_TCK);
}

static double user_time(pid_t pid)
{
    return ticks(pid, 0);
}

static double sys_time(pid_t pid)
{
    return ticks(pid, 1);
}

double process_cpu(pid_t pid)
{
    return sum(pid, cpu);
}

void process_times(pid_t pid, double *user, double *sys)
{
    *user = sum(pid, user_time);
    *sys = sum(pid, sys_time);
}

double process_pss_kb(pid_t pid)
{
    return sum(pid, pss_kb);
}

int process_descriptors(pid_t pid)
{
    return (int)sum(pid, descriptors);
}

int process_threads(pid_t pid)
{
    return (int)sum(pid, threads);
}
