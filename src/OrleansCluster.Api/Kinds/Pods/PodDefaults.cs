using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Defaults of a pod's spec, as Pods and all pod templates have them. Idempotent.</summary>
internal static class PodDefaults
{
    private const int DefaultFileMode = 420;
    private static readonly string[] ContainerLists = ["initContainers", "containers", "ephemeralContainers"];
    private static readonly string[] Probes = ["livenessProbe", "readinessProbe", "startupProbe"];

    /// <summary>Fills a spec. <paramref name="template"/> leaves out what only a Pod itself gets.</summary>
    public static void Apply(JsonObject spec, bool template)
    {
        spec.SetDefault("restartPolicy", "Always");
        spec.SetDefault("dnsPolicy", "ClusterFirst");
        spec.SetDefault("schedulerName", "default-scheduler");
        spec.SetDefault("terminationGracePeriodSeconds", 30);
        spec.EnsureObject("securityContext");
        if (!template)
            spec.SetDefault("enableServiceLinks", true);
        MirrorServiceAccount(spec);
        foreach (var (_, volume) in spec.Items("volumes"))
            ApplyVolume(volume);
        var hostNetwork = !template && spec.GetBool("hostNetwork") == true;
        foreach (var list in ContainerLists)
        {
            foreach (var (_, container) in spec.Items(list))
                ApplyContainer(container, template || list == "ephemeralContainers", hostNetwork);
        }
    }

    /// <summary>True where an image is pulled at each start if nothing else is said: tag `latest`, or neither tag nor digest.</summary>
    internal static bool IsLatest(string image)
    {
        if (image.Contains('@', StringComparison.Ordinal))
        {
            // A digest names one image for ever, except that a tag `latest` beside it still counts.
            image = image[..image.IndexOf('@', StringComparison.Ordinal)];
            return image.EndsWith(":latest", StringComparison.Ordinal);
        }
        var colon = image.IndexOf(':', image.LastIndexOf('/') + 1);
        return colon < 0 || image.AsSpan(colon + 1) is "latest";
    }

    // Two names of one field; the newer one wins.
    private static void MirrorServiceAccount(JsonObject spec)
    {
        var name = spec.GetString("serviceAccountName");
        var oldName = spec.GetString("serviceAccount");
        if (name is { Length: > 0 } && name != oldName)
            spec["serviceAccount"] = name;
        else if (name is null or "" && oldName is { Length: > 0 })
            spec["serviceAccountName"] = oldName;
    }

    private static void ApplyContainer(JsonObject container, bool template, bool hostNetwork)
    {
        container.SetDefault("terminationMessagePath", "/dev/termination-log");
        container.SetDefault("terminationMessagePolicy", "File");
        if (!container.Has("imagePullPolicy") || container.GetString("imagePullPolicy") is "")
            container["imagePullPolicy"] = IsLatest(container.GetString("image") ?? "") ? "Always" : "IfNotPresent";
        var resources = container.EnsureObject("resources");
        if (!template && resources.GetObject("limits") is { Count: > 0 } limits)
        {
            foreach (var (name, limit) in limits)
            {
                if (limit is not null && !resources.GetObject("requests").Has(name))
                    resources.EnsureObject("requests")[name] = limit.DeepClone();
            }
        }
        foreach (var (_, port) in container.Items("ports"))
        {
            port.SetDefault("protocol", "TCP");
            if (hostNetwork && port.GetLong("hostPort") is null or 0 && port.GetLong("containerPort") is { } number)
                port["hostPort"] = number;
        }
        foreach (var (_, variable) in container.Items("env"))
            variable.GetObject("valueFrom").GetObject("fieldRef")?.SetDefault("apiVersion", "v1");
        foreach (var name in Probes)
        {
            if (container.GetObject(name) is { } probe)
                ApplyProbe(probe);
        }
        if (container.GetObject("lifecycle") is { } lifecycle)
        {
            ApplyHttpGet(lifecycle.GetObject("postStart"));
            ApplyHttpGet(lifecycle.GetObject("preStop"));
        }
    }

    private static void ApplyProbe(JsonObject probe)
    {
        ApplyHttpGet(probe);
        probe.GetObject("grpc")?.SetDefault("service", "");
        SetUnlessZero(probe, "timeoutSeconds", 1);
        SetUnlessZero(probe, "periodSeconds", 10);
        SetUnlessZero(probe, "successThreshold", 1);
        SetUnlessZero(probe, "failureThreshold", 3);
    }

    private static void ApplyHttpGet(JsonObject? handler)
    {
        if (handler.GetObject("httpGet") is not { } httpGet)
            return;
        httpGet.SetDefault("path", "/");
        httpGet.SetDefault("scheme", "HTTP");
    }

    // Zero means "not said" in these members.
    private static void SetUnlessZero(JsonObject obj, string name, long value)
    {
        if (!obj.Has(name) || obj.GetLong(name) == 0)
            obj[name] = value;
    }

    private static void ApplyVolume(JsonObject volume)
    {
        if (!volume.Any(m => m.Key != "name" && m.Value is not null))
        {
            volume["emptyDir"] = new JsonObject();
            return;
        }
        foreach (var source in (ReadOnlySpan<string>)["secret", "configMap", "downwardAPI", "projected"])
            volume.GetObject(source)?.SetDefault("defaultMode", DefaultFileMode);
        ApplyFieldRefs(volume.GetObject("downwardAPI"));
        foreach (var (_, source) in volume.GetObject("projected").Items("sources"))
        {
            source.GetObject("serviceAccountToken")?.SetDefault("expirationSeconds", 3600);
            ApplyFieldRefs(source.GetObject("downwardAPI"));
        }
        if (volume.GetObject("hostPath") is { } hostPath && !hostPath.Has("type"))
            hostPath["type"] = "";
        volume.GetObject("iscsi")?.SetDefault("iscsiInterface", "default");
        volume.GetObject("ephemeral").GetObject("volumeClaimTemplate").GetObject("spec")?.SetDefault("volumeMode", "Filesystem");
    }

    private static void ApplyFieldRefs(JsonObject? downwardApi)
    {
        foreach (var (_, item) in downwardApi.Items("items"))
            item.GetObject("fieldRef")?.SetDefault("apiVersion", "v1");
    }
}
