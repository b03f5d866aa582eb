using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Rules of probes and lifecycle handlers.</summary>
internal static class ProbeRules
{
    private static readonly string[] Schemes = ["HTTP", "HTTPS"];
    private static readonly string[] Handlers = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
    private static readonly string[] Counts = ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];

    /// <summary>Checks the probes and handlers of a container; only app containers and sidecars have them.</summary>
    public static void Validate(JsonObject container, FieldPath path, ContainerRole role, long grace, FieldErrors errors)
    {
        foreach (var name in (ReadOnlySpan<string>)["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"])
        {
            if (!container.Has(name))
                continue;
            var at = path.Child(name);
            if (role == ContainerRole.Init)
                errors.Forbidden(at, "may not be set for init containers without restartPolicy=Always");
            else if (role == ContainerRole.Ephemeral)
                errors.Forbidden(at, "cannot be set for an Ephemeral Container");
            else if (name == "lifecycle")
                ValidateLifecycle(container.GetObject(name), at, grace, errors);
            else
                ValidateProbe(container.GetObject(name)!, name, at, grace, errors);
        }
    }

    private static void ValidateLifecycle(JsonObject? lifecycle, FieldPath path, long grace, FieldErrors errors)
    {
        foreach (var hook in (ReadOnlySpan<string>)["postStart", "preStop"])
        {
            if (lifecycle.GetObject(hook) is { } handler)
                ValidateHandler(handler, path.Child(hook), grace, errors);
        }
    }

    private static void ValidateProbe(JsonObject probe, string name, FieldPath path, long grace, FieldErrors errors)
    {
        ValidateHandler(probe, path, grace, errors);
        foreach (var member in Counts)
        {
            if (probe.GetLong(member) is < 0 and var count)
                errors.Invalid(path.Child(member), count, ResourceRules.Negative);
        }
        if (name != "readinessProbe" && probe.GetLong("successThreshold") is not 1 and var threshold)
            errors.Invalid(path.Child("successThreshold"), threshold, "must be 1");
        if (!probe.Has("terminationGracePeriodSeconds"))
            return;
        var ownGrace = probe.GetLong("terminationGracePeriodSeconds");
        if (name == "readinessProbe")
            errors.Invalid(path.Child("terminationGracePeriodSeconds"), ownGrace, "must not be set for readinessProbes");
        else if (ownGrace is not > 0)
            errors.Invalid(path.Child("terminationGracePeriodSeconds"), ownGrace, "must be greater than 0");
    }

    private static void ValidateHandler(JsonObject handler, FieldPath path, long grace, FieldErrors errors)
    {
        var count = 0;
        foreach (var kind in Handlers)
        {
            if (!handler.Has(kind))
                continue;
            var at = path.Child(kind);
            if (count++ > 0)
            {
                errors.Forbidden(at, "may not specify more than 1 handler type");
                continue;
            }
            var body = handler.GetObject(kind);
            switch (kind)
            {
                case "exec":
                    if (body.GetArray("command") is null or { Count: 0 })
                        errors.Required(at.Child("command"));
                    break;
                case "httpGet":
                    ValidateHttpGet(body, at, errors);
                    break;
                case "tcpSocket":
                    ValidatePort(body, at, errors);
                    break;
                case "grpc":
                    if (body.GetLong("port") is not (>= 1 and <= 65535) and var port)
                        errors.Invalid(at.Child("port"), port ?? 0, ContainerRules.PortRange);
                    break;
                default:
                    var seconds = body.GetLong("seconds") ?? 0;
                    if (seconds <= 0 || seconds > grace)
                        errors.Invalid(at, seconds, $"must be greater than 0 and less than terminationGracePeriodSeconds ({grace}). Enable AllowPodLifecycleSleepActionZeroValue feature gate for zero sleep.");
                    break;
            }
        }
        if (count == 0)
            errors.Required(path, "must specify a handler type");
    }

    private static void ValidateHttpGet(JsonObject? http, FieldPath path, FieldErrors errors)
    {
        if (http.GetString("path") is null or "")
            errors.Required(path.Child("path"));
        ValidatePort(http, path, errors);
        PodSpecRules.ValidateChoice(http, "scheme", path, Schemes, errors);
        foreach (var (_, header) in http.Items("httpHeaders"))
        {
            var name = header.GetString("name") ?? "";
            if (name.Length == 0 || name.Any(c => !char.IsAsciiLetterOrDigit(c) && c != '-'))
            {
                errors.Invalid(path.Child("httpHeaders"), name,
                    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')");
            }
        }
    }

    private static void ValidatePort(JsonObject? handler, FieldPath path, FieldErrors errors)
    {
        var node = handler?["port"];
        if (JsonReading.AsString(node) is { } name)
        {
            foreach (var message in NameSyntax.PortName(name))
                errors.Invalid(path.Child("port"), name, message);
        }
        else if (JsonReading.AsLong(node) is not (>= 1 and <= 65535) and var port)
        {
            errors.Invalid(path.Child("port"), port ?? 0, ContainerRules.PortRange);
        }
    }
}
