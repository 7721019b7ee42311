/* lookup prints a name's addresses, or with -x an address's name, as the C
 * library's resolver finds them; -4 and -6 ask for one family. It fails when
 * there is none. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static int fail(const char *what, int code) {
	printf("%s: %s\n", what, gai_strerror(code));
	return 1;
}

int main(int argc, char **argv) {
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all;
	char text[NI_MAXHOST];
	int reverse = 0, code, i;

	for (i = 1; i < argc - 1; i++) {
		if (strcmp(argv[i], "-4") == 0)
			hints.ai_family = AF_INET;
		else if (strcmp(argv[i], "-6") == 0)
			hints.ai_family = AF_INET6;
		else if (strcmp(argv[i], "-x") == 0) {
			reverse = NI_NAMEREQD;
			hints.ai_flags = AI_NUMERICHOST;
		}
	}
	if (argc < 2)
		return 2;
	if ((code = getaddrinfo(argv[argc - 1], NULL, &hints, &all)) != 0)
		return fail(argv[argc - 1], code);
	for (; all != NULL; all = all->ai_next) {
		code = getnameinfo(all->ai_addr, all->ai_addrlen, text, sizeof text, NULL, 0, reverse ? reverse : NI_NUMERICHOST);
		if (code != 0)
			return fail(argv[argc - 1], code);
		puts(text);
	}
	return 0;
}
