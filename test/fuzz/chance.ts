import { seededRandom } from '../support/random.ts';

/** Choices that a seed decides, and the small damages that every target knows. */
export class Chance {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  /** A whole number from 0 to below `bound`. */
  below(bound: number): number {
    return Math.floor(this.#random() * bound);
  }

  is(probability: number): boolean {
    return this.#random() < probability;
  }

  among<T>(choices: readonly T[]): T {
    const chosen = choices[this.below(choices.length)];
    if (chosen === undefined && choices.length === 0) throw new Error('nothing to choose from');
    return chosen as T;
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }

  /** One to four damages, one after the other. */
  damaged(input: Buffer, others: readonly Buffer[]): Buffer {
    let bytes: Buffer = Buffer.from(input);
    for (let left = 1 + this.below(4); left > 0; left -= 1) bytes = this.#damage(bytes, others);
    return bytes;
  }

  #damage(bytes: Buffer, others: readonly Buffer[]): Buffer {
    const at = this.below(bytes.length + 1);
    const length = 1 + this.below(this.is(0.8) ? 8 : 256);
    switch (this.below(9)) {
      case 0:
        return bytes.subarray(0, at);
      case 1:
        return Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + length))]);
      case 2:
        return Buffer.concat([bytes.subarray(0, at), this.bytes(length), bytes.subarray(at)]);
      case 3:
        return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at)]);
      case 4: {
        const other = this.among(others);
        return Buffer.concat([bytes.subarray(0, at), other.subarray(this.below(other.length + 1))]);
      }
      case 5:
        return this.#over(bytes, at, this.#number());
      case 6:
        return this.#over(bytes, at, Buffer.of(this.among([0, 1, 0x7f, 0x80, 0xff, 0x22, 0x5c, 0x7b, 0x0a, 0x2a])));
      case 7:
        return this.#over(bytes, at, Buffer.of((bytes[at] ?? 0) ^ (1 << this.below(8))));
      default:
        return this.#over(bytes, at, this.bytes(Math.min(4, length)));
    }
  }

  #number(): Buffer {
    const number = Buffer.alloc(8);
    number.writeBigInt64BE(this.among([0n, 1n, -1n, 0x7fn, 0x7fffn, 0x7fff_ffffn, -0x8000_0000n, 0x7fff_ffff_ffff_ffffn]));
    return number.subarray(this.among([0, 4, 6]));
  }

  #over(bytes: Buffer, at: number, by: Buffer): Buffer {
    const changed = Buffer.from(bytes);
    by.copy(changed, at);
    return changed;
  }
}
