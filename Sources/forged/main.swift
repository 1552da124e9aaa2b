// One binary, three ways to run: the anchor in the host's namespaces, the manager in the fabric's, or with
// --host the manager alone. The anchor forks, so nothing here may start a thread, a task or a logger before
// the role is known.
internal import CLinux

exit(Forged.main(Array(CommandLine.arguments.dropFirst())))
