declare const brand: unique symbol;

/** A primitive with a meaning. Values are made by the parsing functions beside each brand, never by a bare cast elsewhere. */
export type Brand<T, B extends string> = T & { readonly [brand]: B };
