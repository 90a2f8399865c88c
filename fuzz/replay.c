/* replay.c: runs a fuzz target over the inputs in the tree, without libFuzzer, and prints TAP:
 * those named on the command line, or all in corpus/NAME and regressions/NAME beside this file.
 * Each runs in a process of its own, so that one that crashes fails alone.
 */
#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"

#define PATIENCE 120            /* seconds an input may take */
#define FILES_MAX 4096

static void run_file(const char *path)
{
    static uint8_t data[1 << 20];
    FILE *file = fopen(path, "rb");
    uint8_t *copy;
    size_t len;

    MUST(file, "%s cannot be opened", path);
    len = fread(data, 1, sizeof(data), file);
    fclose(file);
    alarm(PATIENCE);
    copy = fuzz_copy(data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
    exit(0);
}

static int passes(const char *path)
{
    int status = -1;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0)
        run_file(path);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t list_folder(const char *kind, char **files, size_t count)
{
    char folder[512], path[1024];
    const struct dirent *entry;
    DIR *dir;

    snprintf(folder, sizeof(folder), "fuzz/%s/" FUZZ_NAME, kind);
    dir = opendir(folder);
    while (dir && count < FILES_MAX && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        files[count++] = strdup(path);
    }
    if (dir)
        closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    static char *files[FILES_MAX];
    size_t count = 0, i;
    int failed = 0;

    for (i = 1; i < (size_t)argc && count < FILES_MAX; i++)
        files[count++] = strdup(argv[i]);
    if (!count) {
        count = list_folder("corpus", files, count);
        count = list_folder("regressions", files, count);
        qsort(files, count, sizeof(files[0]), by_name);
    }
    for (i = 0; i < count; i++) {
        int pass = passes(files[i]);

        failed += !pass;
        printf("%sok %zu - %s\n", pass ? "" : "not ", i + 1, files[i]);
        free(files[i]);
    }
    printf("1..%zu\n", count);
    return failed || !count ? 1 : 0;
}
