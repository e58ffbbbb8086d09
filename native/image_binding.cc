#include "image_binding.h"

#include "abi.h"
#include "napi_values.h"

namespace barecell {
namespace {

// The loader has checked all of this (src/image/layout.ts); here is what native code itself relies on.
void check(const ImageLayout& layout) {
  require(layout.memories.size() <= BC_MEMORIES_MAX, "memories");
  for (size_t i = 0; i < layout.memories.size(); i++) {
    const LinearLayout& memory = layout.memories[i];
    require(memory.initial_bytes <= BC_LINEAR_MAX_BYTES && memory.initial_bytes % BC_WASM_PAGE_SIZE == 0, "memories");
    require(memory.max_bytes <= BC_LINEAR_MAX_BYTES && memory.max_bytes >= memory.initial_bytes && memory.max_bytes % BC_WASM_PAGE_SIZE == 0, "memories");
    if (memory.initial_bytes == 0) continue;
    if (i == 0) {
      require(memory.gpa == BC_HIGH_GPA_BASE || (memory.gpa >= layout.image_end_gpa && memory.gpa + memory.initial_bytes <= BC_LOW_GPA_END), "memories");
    } else {
      require(memory.gpa == BC_MEMORY_GPA_BASE + (i - 1) * uint64_t{BC_MEMORY_GPA_STRIDE}, "memories");
    }
  }
  uint64_t end = BC_PAGE_SIZE;
  for (const ImageSegment& segment : layout.segments) {
    require(segment.gpa >= end && segment.gpa % BC_PAGE_SIZE == 0 && segment.memory_bytes % BC_PAGE_SIZE == 0, "segments");
    require(segment.file_bytes <= segment.memory_bytes && segment.memory_bytes <= BC_LINEAR_MAX_BYTES, "segments");
    end = segment.gpa + segment.memory_bytes;
    if (segment.memory == ImageSegment::kOfImage) {
      require(end <= layout.image_end_gpa, "segments");
    } else {
      require(segment.memory < layout.memories.size(), "segments");
      const LinearLayout& memory = layout.memories[segment.memory];
      require(segment.gpa >= memory.gpa && end <= memory.gpa + memory.initial_bytes, "segments");
    }
  }
  require(layout.image_end_gpa <= BC_LOW_GPA_END && layout.image_end_gpa % BC_PAGE_SIZE == 0, "imageEndGpa");
  auto inside = [&](uint64_t gpa, uint64_t size) {
    return gpa >= BC_PAGE_SIZE && gpa <= layout.image_end_gpa && size <= layout.image_end_gpa - gpa;
  };
  require(inside(layout.mailbox_gpa, layout.mailbox_bytes) && layout.mailbox_bytes >= BC_MAILBOX_HEADER_BYTES + BC_SLOT_BYTES &&
              layout.mailbox_gpa % sizeof(bc_slot) == 0,
          "mailbox");
  require(inside(layout.mailbox_gpa + layout.mailbox_bytes, BC_OUTPUT_LOG_BYTES + BC_INPUT_BYTES), "mailbox");
  require(inside(layout.exception_stacks_gpa, BC_IST_COUNT * BC_IST_BYTES), "exceptionStacks");
  require(inside(layout.run_pml4_gpa, BC_PAGE_SIZE), "runPml4Gpa");
  require(inside(layout.stack_gpa, layout.stack_bytes), "stack");
  require(layout.tss_limit >= BC_TSS_BYTES && inside(BC_GDT_GPA, BC_GDT_BYTES + layout.tss_limit + 1), "tssLimit");
  require(layout.import_memories.size() <= BC_IMPORTS_MAX, "importMemories");
}

std::shared_ptr<const wasi::Bundle> read_bundle(const Image& image) {
  auto mapping = std::make_shared<const Mapping>(image.map_bundle());
  std::span<const uint8_t> bytes(mapping->base(), mapping->size_bytes());
  return std::make_shared<const wasi::Bundle>(bytes, std::move(mapping));
}

}  // namespace

Napi::Function ImageBinding::define(Napi::Env env) {
  return DefineClass(env, "Image", {InstanceAccessor<&ImageBinding::fd>("fd")});
}

// The sealed memory file, for other processes; it stays this object's.
Napi::Value ImageBinding::fd(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), image_->fd()); }

// new Image({ bytes: Uint8Array, segments: [{ gpa, fileOffset, fileBytes, memoryBytes }], bundleOffset, bundleBytes, bootEntry,
// ..., sharedFd: number or null }), all others numbers. A sharedFd is the new object's from then on.
ImageBinding::ImageBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&]() {
    Napi::Object plan = as_object(info[0], "plan");
    Napi::Value bytes_value = plan.Get("bytes");
    require(bytes_value.IsTypedArray() && bytes_value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "bytes");
    auto bytes_array = bytes_value.As<Napi::Uint8Array>();
    std::span<const uint8_t> bytes(bytes_array.Data(), bytes_array.ByteLength());
    UniqueFd shared;
    if (!plan.Get("sharedFd").IsNull()) shared = UniqueFd(static_cast<int>(std::min<uint64_t>(get_u64(plan, "sharedFd"), INT32_MAX)));

    ImageLayout layout;
    std::vector<std::span<const uint8_t>> contents;
    Napi::Array segments = get_array(plan, "segments");
    for (uint32_t i = 0; i < segments.Length(); i++) {
      Napi::Object entry = as_object(segments.Get(i), "segments");
      ImageSegment segment;
      segment.gpa = get_u64(entry, "gpa");
      segment.file_bytes = get_u64(entry, "fileBytes");
      segment.memory_bytes = get_u64(entry, "memoryBytes");
      Napi::Value memory = entry.Get("memory");
      if (!memory.IsNull()) segment.memory = static_cast<uint32_t>(std::min<uint64_t>(get_u64(entry, "memory"), BC_MEMORIES_MAX));
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
    Napi::Array memories = get_array(plan, "memories");
    for (uint32_t i = 0; i < memories.Length(); i++) {
      Napi::Object entry = as_object(memories.Get(i), "memories");
      layout.memories.push_back({get_u64(entry, "gpa"), get_u64(entry, "initialBytes"), get_u64(entry, "maxBytes")});
    }
    layout.image_end_gpa = get_u64(plan, "imageEndGpa");
    Napi::Array import_memories = get_array(plan, "importMemories");
    for (uint32_t i = 0; i < import_memories.Length(); i++) {
      Napi::Value memory = import_memories.Get(i);
      // An index past the last means a memory of no bytes to all who ask (GuestMemory::linear).
      layout.import_memories.push_back(memory.IsNull() ? ImageLayout::kNoMemory
                                                       : static_cast<uint32_t>(std::min<uint64_t>(as_u64(memory, "importMemories"), BC_MEMORIES_MAX)));
    }
    layout.needs_avx = get_bool(plan, "needsAvx");
    check(layout);
    uint64_t bundle_offset = get_u64(plan, "bundleOffset"), bundle_bytes = get_u64(plan, "bundleBytes");
    require(bundle_offset <= bytes.size() && bundle_bytes <= bytes.size() - bundle_offset, "bundleOffset");
    std::span<const uint8_t> bundle = bytes.subspan(bundle_offset, bundle_bytes);
    image_ = shared ? std::make_shared<const Image>(std::move(layout), contents, bundle, std::move(shared))
                    : std::make_shared<const Image>(std::move(layout), contents, bundle);
    if (bundle_bytes > 0) bundle_ = read_bundle(*image_);
  });
}

}  // namespace barecell
