/*
 * launcher.h
 *		The launcher: finds the databases that have the extension, and sees to
 *		it that each has a monitor.
 *
 * Gives: launcher_init(), which registers it while preloading.
 * Needs: settings, the slots, the monitor's name.
 */
#ifndef DEPLOYDB_LAUNCHER_H
#define DEPLOYDB_LAUNCHER_H

extern void launcher_init(void);

#endif							/* DEPLOYDB_LAUNCHER_H */
