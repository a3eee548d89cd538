// Package vm boots a Debian kernel in an emulated machine and runs a script
// there, so that a real kernel's NBD driver, block layer and file systems use
// a server of ours.
//
// Non-job: speed (the machine is emulated in software, ten to thirty times
// slower than the host) and anything about how the server is started: the
// guest is given addresses.
//
// Parts: the kernel and its modules as scripts/deps has put them (kernel.go,
// modules.go); an initramfs of busybox, the tools under test and the
// libraries that they need (image.go, cpio.go); one boot that runs one script
// (vm.go); the script that uses volumes as a user would (files.go, with the
// script in guest/).
//
// The guest sees the host's loopback as 10.0.2.2: see GuestAddr. Its root is
// in memory and gone when it powers off. A script that fails ends the boot
// and fails the Run; lines "@@ key value" that it prints become values of
// the Output.
//
// Invariants: kernel and modules are of one package, or nothing boots. The
// initramfs is cached under a name made of the versions of all that is in it,
// written under another name first, so that two tests may build it at once.
// The machine dies with the process that started it.
//
// Goroutines: Run blocks the calling one and locks it to its thread, for the
// parent-death signal; one more reads the console while Run lasts.
package vm
