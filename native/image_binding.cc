#include "image_binding.h"

#include "abi.h"
#include "napi_values.h"

namespace barecell {
namespace {

// The loader has checked all of this (src/image/layout.ts); here is what native code itself relies on.
void check(const ImageLayout& layout) {
  uint64_t end = BC_PAGE_SIZE;
  for (const ImageSegment& segment : layout.segments) {
    require(segment.gpa >= end && segment.gpa % BC_PAGE_SIZE == 0 && segment.memory_bytes % BC_PAGE_SIZE == 0, "segments");
    require(segment.file_bytes <= segment.memory_bytes && segment.memory_bytes <= BC_LINEAR_MAX_BYTES, "segments");
    end = segment.gpa + segment.memory_bytes;
    bool is_linear = layout.linear_bytes > 0 && segment.gpa >= layout.linear_gpa;
    require(end <= (is_linear ? layout.linear_gpa + layout.linear_bytes : layout.image_end_gpa), "segments");
  }
  require(layout.image_end_gpa <= BC_LOW_GPA_END && layout.image_end_gpa % BC_PAGE_SIZE == 0, "imageEndGpa");
  require(layout.linear_bytes <= BC_LINEAR_MAX_BYTES && layout.linear_bytes % BC_WASM_PAGE_SIZE == 0, "linearBytes");
  require(layout.linear_bytes == 0 || layout.linear_gpa >= layout.image_end_gpa, "linearGpa");
  auto inside = [&](uint64_t gpa, uint64_t size) {
    return gpa >= BC_PAGE_SIZE && gpa <= layout.image_end_gpa && size <= layout.image_end_gpa - gpa;
  };
  require(inside(layout.mailbox_gpa, layout.mailbox_bytes) && layout.mailbox_bytes >= BC_MAILBOX_HEADER_BYTES + BC_SLOT_BYTES &&
              layout.mailbox_gpa % sizeof(bc_slot) == 0,
          "mailbox");
  require(inside(layout.exception_stacks_gpa, BC_IST_COUNT * BC_IST_BYTES), "exceptionStacks");
  require(inside(layout.run_pml4_gpa, BC_PAGE_SIZE), "runPml4Gpa");
  require(inside(layout.stack_gpa, layout.stack_bytes), "stack");
  require(layout.tss_limit >= BC_TSS_BYTES && inside(BC_GDT_GPA, BC_GDT_BYTES + layout.tss_limit + 1), "tssLimit");
  require(layout.import_count <= BC_IMPORTS_MAX, "importCount");
}

}  // namespace

Napi::Function ImageBinding::define(Napi::Env env) { return DefineClass(env, "Image", {}); }

// new Image({ bytes: Uint8Array, segments: [{ gpa, fileOffset, fileBytes, memoryBytes }], bootEntry, ... }), all numbers.
ImageBinding::ImageBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&]() {
    Napi::Object plan = as_object(info[0], "plan");
    Napi::Value bytes_value = plan.Get("bytes");
    require(bytes_value.IsTypedArray() && bytes_value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "bytes");
    auto bytes_array = bytes_value.As<Napi::Uint8Array>();
    std::span<const uint8_t> bytes(bytes_array.Data(), bytes_array.ByteLength());

    ImageLayout layout;
    std::vector<std::span<const uint8_t>> contents;
    Napi::Array segments = get_array(plan, "segments");
    for (uint32_t i = 0; i < segments.Length(); i++) {
      Napi::Object entry = as_object(segments.Get(i), "segments");
      ImageSegment segment;
      segment.gpa = get_u64(entry, "gpa");
      segment.file_bytes = get_u64(entry, "fileBytes");
      segment.memory_bytes = get_u64(entry, "memoryBytes");
      uint64_t offset = get_u64(entry, "fileOffset");
      require(offset <= bytes.size() && segment.file_bytes <= bytes.size() - offset, "fileOffset");
      layout.segments.push_back(segment);
      contents.push_back(bytes.subspan(offset, segment.file_bytes));
    }
    layout.boot_entry = get_u64(plan, "bootEntry");
    layout.call_entry = get_u64(plan, "callEntry");
    layout.syscall_entry = get_u64(plan, "syscallEntry");
    layout.mailbox_gpa = get_u64(plan, "mailboxGpa");
    layout.mailbox_bytes = get_u64(plan, "mailboxBytes");
    layout.exception_stacks_gpa = get_u64(plan, "exceptionStacksGpa");
    layout.boot_pml4_gpa = get_u64(plan, "bootPml4Gpa");
    layout.run_pml4_gpa = get_u64(plan, "runPml4Gpa");
    layout.idt = get_u64(plan, "idt");
    layout.tss_limit = get_u64(plan, "tssLimit");
    layout.stack_bytes = get_u64(plan, "stackBytes");
    layout.stack_gpa = get_u64(plan, "stackGpa");
    layout.linear_gpa = get_u64(plan, "linearGpa");
    layout.linear_bytes = get_u64(plan, "linearBytes");
    layout.image_end_gpa = get_u64(plan, "imageEndGpa");
    layout.import_count = static_cast<uint32_t>(get_u64(plan, "importCount"));
    layout.needs_avx = get_bool(plan, "needsAvx");
    check(layout);
    image_ = std::make_shared<const Image>(std::move(layout), contents);
  });
}

}  // namespace barecell
