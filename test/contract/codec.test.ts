import { jsonCodec } from '../../src/codec/json.ts';
import { codecContract } from './codec.ts';

codecContract('json', jsonCodec);
