/** What kind of KVM the host has, as far as guests with a kernel of their own have to know. */
import { existsSync } from "node:fs";

/** KVM without hardware support ("pagetable virtual machine"). */
export const isPvm = (): boolean => existsSync("/sys/module/kvm_pvm");
