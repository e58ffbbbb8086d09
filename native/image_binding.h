// The JavaScript class `Image`: an image's bytes, held in a sealed memory file.
#pragma once

#include <napi.h>

#include <memory>

#include "image.h"
#include "wasi/bundle.h"

namespace barecell {

class ImageBinding : public Napi::ObjectWrap<ImageBinding> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ImageBinding(const Napi::CallbackInfo& info);
  const std::shared_ptr<const Image>& image() const noexcept { return image_; }
  // Null if the image has none.
  const std::shared_ptr<const wasi::Bundle>& bundle() const noexcept { return bundle_; }

 private:
  Napi::Value fd(const Napi::CallbackInfo& info);

  std::shared_ptr<const Image> image_;
  std::shared_ptr<const wasi::Bundle> bundle_;
};

}  // namespace barecell
