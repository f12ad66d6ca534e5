package dev.laco.backend.cuda;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import org.junit.jupiter.api.condition.EnabledIf;

/**
 * A test that only the stand-in driver can take: it sets what the device is, makes calls fail,
 * counts them, or hands the driver what a real one would follow into nowhere.
 */
@Target({ElementType.TYPE, ElementType.METHOD})
@Retention(RetentionPolicy.RUNTIME)
@EnabledIf(
    value = "dev.laco.backend.cuda.EmulatedDevice#isThere",
    disabledReason = "needs the emulated device")
public @interface OnStandIn {}
