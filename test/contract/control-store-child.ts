import process from 'node:process';
import type { ControlKey } from '#core/control.ts';
import { EmbeddedControlStore } from '../../connectors/control-embedded/store.ts';
import { realRuntime } from '../support/test-runtime.ts';
import { countUp } from './control-store.ts';

/** Run as a process of its own: counts a row of the store up. Arguments: path, key, times. */
const [path = '', at = '', times = '0'] = process.argv.slice(2);
await using store = new EmbeddedControlStore({ path, runtime: realRuntime(process.pid) });
await countUp(store, at as ControlKey, Number(times));
