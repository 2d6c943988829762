import { AppError } from '../core/app-error.ts'

/** Reading and writing the binary frames of the state stream; see replication.ts. */

export const malformed = (what: string): AppError =>
  new AppError('protocol', `replication frame refused: ${what}`, {
    hint: 'Both ends must run the same version; if they do, something between them changes bytes.',
  })

export function safeNumber(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed('a number is out of range')
  return Number(value)
}

/** What a name stands for. Owner and group are numeric; times are microseconds since 1970. */
export interface Metadata {
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeMicros: number
  /** Extended attributes in the canonical form of xattrs.ts; empty when there are none. */
  readonly xattrs: string
}

/** Bytes that `meta` takes. */
export const metaBytes = (meta: Metadata): number => 22 + meta.xattrs.length

/** Throws RangeError where there is no room. */
export class Writer {
  #at = 0
  readonly #body: Uint8Array
  readonly #view: DataView

  constructor(body: Uint8Array) {
    this.#body = body
    this.#view = new DataView(body.buffer, body.byteOffset, body.length)
  }
  /** Bytes that are written. */
  get at(): number {
    return this.#at
  }
  /** What comes next, to be filled from outside; returns how much of it was. */
  fill(length: number, into: (room: Uint8Array) => number): number {
    const lengthAt = this.#at
    this.#at += 4
    const filled = into(this.#body.subarray(this.#at, this.#at + length))
    this.#view.setUint32(lengthAt, filled)
    this.#at += filled
    return filled
  }
  u8(value: number): void {
    this.#view.setUint8(this.#at, value)
    this.#at += 1
  }
  u16(value: number): void {
    this.#view.setUint16(this.#at, value)
    this.#at += 2
  }
  u32(value: number): void {
    this.#view.setUint32(this.#at, value)
    this.#at += 4
  }
  u64(value: number): void {
    this.big(BigInt(value))
  }
  big(value: bigint): void {
    this.#view.setBigUint64(this.#at, value)
    this.#at += 8
  }
  bytes(value: Uint8Array): void {
    this.#body.set(value, this.#at)
    this.#at += value.length
  }
  text(value: string): void {
    this.u16(value.length)
    for (let index = 0; index < value.length; index += 1) this.u8(value.charCodeAt(index))
  }
  name(value: { readonly root: number; readonly path: string }): void {
    this.u8(value.root)
    this.text(value.path)
  }
  meta(value: Metadata): void {
    this.u32(value.mode)
    this.u32(value.uid)
    this.u32(value.gid)
    this.#view.setBigInt64(this.#at, BigInt(value.mtimeMicros))
    this.#at += 8
    this.text(value.xattrs)
  }
}

/** Throws AppError `protocol` where the bytes end early or a value is out of range. */
export class Reader {
  #at = 0
  readonly #body: Uint8Array
  readonly #view: DataView

  constructor(body: Uint8Array) {
    this.#body = body
    this.#view = new DataView(body.buffer, body.byteOffset, body.length)
  }
  get done(): boolean {
    return this.#at === this.#body.length
  }
  #take(length: number): number {
    const at = this.#at
    if (length > this.#body.length - at) throw malformed('it ends in the middle of an entry')
    this.#at = at + length
    return at
  }
  u8(): number {
    return this.#view.getUint8(this.#take(1))
  }
  u16(): number {
    return this.#view.getUint16(this.#take(2))
  }
  u32(): number {
    return this.#view.getUint32(this.#take(4))
  }
  u64(): number {
    return safeNumber(this.#view.getBigUint64(this.#take(8)))
  }
  bytes(length: number): Uint8Array {
    const at = this.#take(length)
    return this.#body.subarray(at, at + length)
  }
  bigs(count: number): BigUint64Array {
    const at = this.#take(count * 8)
    const values = new BigUint64Array(count)
    for (let index = 0; index < count; index += 1) values[index] = this.#view.getBigUint64(at + index * 8)
    return values
  }
  text(max: number): string {
    const length = this.u16()
    if (length > max) throw malformed(`a name of ${length} bytes is too long`)
    let text = ''
    for (const byte of this.bytes(length)) text += String.fromCharCode(byte)
    return text
  }
  meta(): Metadata {
    const mode = this.u32()
    const uid = this.u32()
    const gid = this.u32()
    const micros = this.#view.getBigInt64(this.#take(8))
    if (mode > 0o7777) throw malformed(`a mode of 0${mode.toString(8)} is not one`)
    if (micros > BigInt(Number.MAX_SAFE_INTEGER) || micros < -BigInt(Number.MAX_SAFE_INTEGER))
      throw malformed('a time is out of range')
    return { mode, uid, gid, mtimeMicros: Number(micros), xattrs: this.text(0xffff) }
  }
}
